/**
 * Edits of TypeScript files as a careful person makes them: what is there stays as it is. There is
 * no parser here, only a scanner that knows strings, comments and brackets.
 */

/** With or without a semicolon. */
const IMPORT = /^import\b(?!\s*[(.])[^'";]*['"][^'"\n]*['"][^\n]*\n/gm;

/** Adds an import after the last one; leaves the text alone when the name is imported already. */
export function addImport(text: string, name: string, from: string): string {
  if (new RegExp(`^import\\b[^'";]*\\b${name}\\b[^'";]*from`, 'm').test(text)) return text;
  const line = `import { ${name} } from '${from}';\n`;
  let end = 0;
  for (const found of text.matchAll(IMPORT)) {
    end = found.index + found[0].length;
  }
  return text.slice(0, end) + line + text.slice(end);
}

/**
 * Adds an element to an array of `@Module({...})`, and the array when it is missing. Undefined when
 * there is no module with an object in the text, or the property is not an array that can be read.
 */
export function addToModule(text: string, property: string, element: string): string | undefined {
  const decorator = /@Module\(\s*\{/.exec(text);
  if (decorator === null) return undefined;
  const open = decorator.index + decorator[0].length - 1;
  const value = valueOf(text, open, property);
  if (value === undefined) {
    const isEmpty = text.slice(open + 1).trimStart().startsWith('}');
    const rest = isEmpty ? `\n${text.slice(open + 1).trimStart()}` : text.slice(open + 1);
    return `${text.slice(0, open + 1)}\n  ${property}: [${element}],${rest}`;
  }
  if (text[value] !== '[') return undefined;
  const close = closingOf(text, value);
  if (close === undefined) return undefined;
  return insertElement(text, { open: value, close }, element);
}

function insertElement(
  text: string, array: { readonly open: number; readonly close: number }, element: string,
): string {
  const { open, close } = array;
  const inside = text.slice(open + 1, close);
  const content = inside.trimEnd();
  if (content.trim() === '') return `${text.slice(0, open + 1)}${element}${text.slice(close)}`;
  const comma = content.endsWith(',') ? '' : ',';
  const isMultiline = content.includes('\n') || inside.startsWith('\n');
  const space = isMultiline ? (/\n[ \t]*/.exec(inside)?.[0] ?? '\n    ') : ' ';
  const tail = isMultiline ? `,${inside.slice(content.length)}` : '';
  return text.slice(0, open + 1) + content + comma + space + element + tail + text.slice(close);
}

/** Where the value of a property begins; `open` is the bracket of the object. */
function valueOf(text: string, open: number, property: string): number | undefined {
  const end = closingOf(text, open) ?? text.length;
  for (let at = open + 1; at < end; ) {
    const next = skip(text, at);
    if (next !== at) {
      at = next;
      continue;
    }
    const key = new RegExp(`(?<![\\w.])${property}\\s*:\\s*`, 'y');
    key.lastIndex = at;
    const found = key.exec(text);
    if (found !== null) return at + found[0].length;
    at += 1;
  }
  return undefined;
}

const CLOSING: ReadonlyMap<string, string> = new Map([['{', '}'], ['[', ']'], ['(', ')']]);

/** Position of the bracket that closes the one at `open`. */
function closingOf(text: string, open: number): number | undefined {
  const closing = CLOSING.get(text[open]);
  for (let at = open + 1; at < text.length; ) {
    if (text[at] === closing) return at;
    const next = skip(text, at);
    at = next === at ? at + 1 : next;
  }
  return undefined;
}

/** Behind the string, comment or bracketed part that begins at `at`; `at` when none does. */
function skip(text: string, at: number): number {
  const character = text[at];
  if (character === '\'' || character === '"' || character === '`') return stringEnd(text, at);
  if (text.startsWith('//', at)) return endOf(text, at, '\n');
  if (text.startsWith('/*', at)) return endOf(text, at + 2, '*/');
  if (!CLOSING.has(character)) return at;
  const close = closingOf(text, at);
  return close === undefined ? text.length : close + 1;
}

function stringEnd(text: string, open: number): number {
  for (let at = open + 1; at < text.length; at += 1) {
    if (text[at] === '\\') at += 1;
    else if (text[at] === text[open]) return at + 1;
  }
  return text.length;
}

function endOf(text: string, from: number, mark: string): number {
  const at = text.indexOf(mark, from);
  return at < 0 ? text.length : at + mark.length;
}
