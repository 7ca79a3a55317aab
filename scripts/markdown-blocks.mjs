// The fenced blocks of a page, with what is said about running them:
//
//   // src/x.ts            first line of a block: it is that file
//   ```sh                  commands
//   ```text                what the commands before it must have printed
//   ### Nest 12            heading: what stands under it is for that version only
//   <!-- readme: nest 11 -->        the next block is for that version only
//   <!-- readme: not run, why -->   the next block is not run

const FENCE = /^```(\w*)/;
const NOTE = /^<!-- readme: (.*) -->$/;
const HEADING = /^#+ (.*)$/;
const FILE = /^\/\/ (\S+\.(?:m?[jt]s))$/;

/**
 * `[{ language, text, line, file, nest, notRun }]`; `nest` is the version that a block is for,
 * undefined for all.
 */
export function blocksOf(markdown) {
  const blocks = [];
  let block;
  let note;
  let heading = { nest: undefined };
  markdown.split('\n').forEach((line, index) => {
    const fence = FENCE.exec(line);
    if (block !== undefined) {
      if (fence === null) block.lines.push(line);
      else {
        blocks.push(finished(block));
        block = undefined;
      }
    } else if (fence !== null) {
      block = { language: fence[1], line: index + 1, lines: [], note, nest: heading.nest };
      note = undefined;
    } else {
      note = NOTE.exec(line)?.[1] ?? (line.trim() === '' ? note : undefined);
      heading = headingOf(line) ?? heading;
    }
  });
  return blocks;
}

function headingOf(line) {
  const found = HEADING.exec(line);
  return found === null ? undefined : { nest: /^Nest (\d+)$/.exec(found[1])?.[1] };
}

function finished({ language, line, lines, note, nest }) {
  const file = FILE.exec(lines[0] ?? '')?.[1];
  return {
    language,
    line,
    file,
    text: `${lines.join('\n')}\n`,
    nest: /^nest (\d+)$/.exec(note ?? '')?.[1] ?? nest,
    notRun: note?.startsWith('not run') ? note : undefined,
  };
}
