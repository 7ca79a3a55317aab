// The words that a program of the bench is called with.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** The comment at the head of a file. */
function headOf(url) {
  const lines = readFileSync(fileURLToPath(url), 'utf8').split('\n');
  const end = lines.findIndex((line) => !line.startsWith('//'));
  return lines.slice(0, end).map((line) => line.replace(/^\/\/ ?/, '')).join('\n');
}

/** `--help` prints what the program says of itself at its head, and ends it. */
export function answerHelp(url) {
  if (!process.argv.includes('--help')) return;
  console.log(headOf(url));
  process.exit(0);
}

/**
 * For programs that read their options by themselves: answers `--help` and refuses what they do not
 * know, instead of measuring something else than was asked for.
 */
export function checkWords(url, { options, flags = [], words = [] }) {
  answerHelp(url);
  const given = process.argv.slice(2);
  for (let at = 0; at < given.length; at += 1) {
    const name = given[at].replace(/^--/, '');
    if (given[at].startsWith('--') && options.includes(name)) {
      at += 1;
      if (given[at] !== undefined) continue;
      console.error(`--${name} needs a value; --help says which`);
      process.exit(2);
    }
    const isKnown = given[at].startsWith('--') ? flags.includes(name) : words.includes(name);
    if (isKnown) continue;
    const known = [...words, ...options.map((one) => `--${one} VALUE`), ...flags.map((one) => `--${one}`)];
    console.error(`${given[at]} is not known here. There are: ${known.join(', ')}`);
    process.exit(2);
  }
}
