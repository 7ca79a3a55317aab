// Where the source says that it enforces a statement, and how such a line is broken by rule.
import { readFileSync, readdirSync } from 'node:fs';
import { join, relative } from 'node:path';

/** Words that say for which version the tags behind them stand. */
const SCOPE = /(3\.1\.1|5\.0)(?= \[MQTT|\s*$)|\[(MQTT-[\d.]+-\d+)\](?: (v3\.1\.1|v5)\b)?/g;
const BODY_LINES_MAX = 24;
const STATEMENT_LINES_MAX = 12;

function sourceFiles(root, folder) {
  return readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.ts')
      && !entry.name.includes('.generated.'))
    .map((entry) => relative(root, join(entry.parentPath ?? entry.path, entry.name)));
}

/** The comment of a line, or undefined; `code` is what stands before it. */
function split(line) {
  const trimmed = line.trim();
  if (/^(\/\*\*?|\*)/.test(trimmed)) return { code: '', comment: trimmed };
  const at = line.search(/(^|\s)\/\/ /);
  if (at < 0) return { code: line, comment: undefined };
  return { code: line.slice(0, at), comment: line.slice(at) };
}

/** Tags of a comment with the version each stands for; a comment may go over several lines. */
function scopedTags(comment, scope) {
  const tags = [];
  for (const [, marker, id, suffix] of comment.matchAll(SCOPE)) {
    if (marker !== undefined) scope = marker;
    else {
      const version = suffix === undefined ? scope : suffix === 'v5' ? '5.0' : '3.1.1';
      tags.push({ id, version });
    }
  }
  return { tags, scope };
}

const isHeader = (code) =>
  /^\s*(export |private |protected |static |async |get |@inline)*(function |class |interface |enum |type )/.test(code)
  || /^\s*(private |protected |async |static )*[#\w]+(<[^>]*>)?\([^)]*$/.test(code) && !/^\s*(if|while|for|return|switch)\b/.test(code)
  || /^\s*(private |protected |async |static )*[#\w]+\(.*\)(: [^;]+)? \{$/.test(code) && !/^\s*(if|while|for|switch|else)\b/.test(code)
  || /^@inline/.test(code.trim());

/** The lines that a tag at `at` speaks of: its own, the next one, or the body of a function. */
function targetsOf(lines, at) {
  if (split(lines[at]).code.trim() !== '') {
    if (isHeader(split(lines[at]).code)) return bodyOf(lines, at);
    return [at];
  }
  let next = at + 1;
  while (next < lines.length && split(lines[next]).code.trim() === '') next++;
  if (next >= lines.length) return [];
  if (/^import /.test(lines[next])) return [];
  if (isHeader(lines[next])) return bodyOf(lines, next);
  // A remark at the top of a block speaks of its condition as well.
  const before = split(lines[at - 1] ?? '').code;
  return /\b(if|else)\b.*\{\s*$/.test(before) ? [at - 1, next] : [next];
}

function bodyOf(lines, header) {
  const indent = (line) => line.length - line.trimStart().length;
  let start = header;
  while (start < lines.length && !/\{\s*$/.test(split(lines[start]).code)) start++;
  const targets = [];
  for (let at = start + 1; at < lines.length && targets.length < BODY_LINES_MAX; at++) {
    const { code } = split(lines[at]);
    if (code.trim() === '') continue;
    if (indent(lines[at]) <= indent(lines[header]) && /^\s*\}/.test(code)) break;
    targets.push(at);
  }
  return targets;
}

/** `version id` -> places: the file, the line of the tag, the lines that may be broken. */
export function findTags(root, versionsOf) {
  const table = new Map();
  for (const file of [...sourceFiles(root, 'assembly'), ...sourceFiles(root, 'lib')]) {
    const lines = readFileSync(join(root, file), 'utf8').split('\n');
    let scope;
    lines.forEach((line, at) => {
      const { comment, code } = split(line);
      if (comment === undefined) { scope = undefined; return; }
      if (code.trim() !== '') scope = undefined;
      const found = scopedTags(comment, scope);
      scope = found.scope;
      for (const { id, version } of found.tags) {
        const versions = version === undefined ? versionsOf(id) : [version];
        for (const one of versions) {
          const key = `${one} ${id}`;
          const places = table.get(key) ?? [];
          places.push({ file, line: at, targets: targetsOf(lines, at) });
          table.set(key, places);
        }
      }
      if (/\*\/\s*$/.test(line)) scope = undefined;
    });
  }
  return table;
}

const OPPOSITES = [
  [' == ', ' != '], [' != ', ' == '], [' === ', ' !== '], [' !== ', ' === '],
  [' < ', ' >= '], [' > ', ' <= '], [' <= ', ' > '], [' >= ', ' < '],
  [' && ', ' || '], [' || ', ' && '],
];

/** The text between the parenthesis at `open` and its partner; undefined when it ends elsewhere. */
function inParentheses(code, open) {
  let depth = 0;
  for (let at = open; at < code.length; at++) {
    if (code[at] === '(') depth++;
    if (code[at] === ')') depth--;
    if (depth === 0) return { text: code.slice(open + 1, at), end: at };
  }
  return undefined;
}

function isBalanced(code) {
  const count = (mark) => code.split(mark).length;
  return ['()', '{}', '[]'].every(([open, close]) => count(open) === count(close));
}

/** The last line of the statement that begins at `at`, or of its head. */
export function endOf(lines, at) {
  for (let end = at; end < lines.length && end < at + STATEMENT_LINES_MAX; end++) {
    const code = lines.slice(at, end + 1).map((line) => split(line).code).join('\n').trimEnd();
    const isWhole = ['()', '[]'].every(([open, close]) =>
      code.split(open).length <= code.split(close).length);
    if (isWhole && /[;{},:]$/.test(code)) return end;
  }
  return at;
}

/** `{ rule, code }` of every way to break these lines of one statement, the plainest first. */
export function mutantsOf(lines) {
  const code = lines.map((line) => split(line).code.trimEnd()).join('\n');
  const mutants = [];
  const add = (rule, changed) => {
    if (changed !== code && !mutants.some((one) => one.code === changed)) {
      mutants.push({ rule, code: changed });
    }
  };
  const trimmed = code.trim();
  const condition = /\b(if|while) \(/.exec(code);
  if (condition) {
    const open = condition.index + condition[0].length - 1;
    const inner = inParentheses(code, open);
    if (inner) {
      add('condition negated',
        `${code.slice(0, open)}(!(${inner.text})${code.slice(inner.end)}`);
    }
  }
  const choice = /^(.*\s)\? (.+) : (.+?)([;,)]*)$/s.exec(code);
  if (choice && !/\?\?/.test(choice[0])) {
    add('branches swapped', `${choice[1]}? ${choice[3]} : ${choice[2]}${choice[4]}`);
  }
  const statement = /;$/.test(trimmed) && isBalanced(code)
    && !/^(const|let|return|import|export|\}|case|default)\b/.test(trimmed);
  if (statement && !condition) add('statement dropped', code.replace(trimmed, ';'));
  add('statement dropped', code.replace(/^(\s*\}? ?else )(?!if\b)[^{]+;$/, '$1;'));
  if (/^return;$/.test(trimmed)) add('statement dropped', code.replace(trimmed, ';'));
  if (/^[\w#]+(: .+)?,$/.test(trimmed) && isBalanced(code)) {
    add('field dropped', code.replace(trimmed, ''));
  }
  if (/^\.\.\..+,$/.test(trimmed) && isBalanced(code)) {
    add('field dropped', code.replace(trimmed, ''));
  }
  if (/^\[.*\],$/.test(trimmed)) add('element dropped', code.replace(trimmed, ''));
  add('loop over nothing', code.replace(/(\bfor \(const .+ of )[^)]+(\) \{)$/, '$1[]$2'));
  for (const [from, to] of OPPOSITES) {
    if (code.includes(from)) add(`${from.trim()} became ${to.trim()}`, code.replace(from, to));
  }
  add('field negated', code.replace(/^(\s*)([a-z]\w*),$/, '$1$2: !$2,'));
  add('field negated', code.replace(/^(\s*[a-z]\w*: )(.+),$/, '$1!($2),'));
  constants(code, add);
  return mutants;
}

function constants(code, add) {
  add('|= became &= ~', code.replace(/ \|= (.+);/, ' &= ~($1);'));
  add('minimum became maximum', code.replace(/\bMath\.min\b/, 'Math.max').replace(
    /\bmin<u32>/, 'max<u32>'));
  add('true became false', code.replace(/\btrue\b/, 'false'));
  add('false became true', code.replace(/\bfalse\b/, 'true'));
  add('fallback only', code.replace(/([\w.?#]+) \?\? /, ''));
  add('+ became -', code.replace(/ \+ /, ' - '));
  add('++ became --', code.replace(/\+\+/, '--'));
  add('-- became ++', code.replace(/--/, '++'));
  add('result replaced by 0', code.replace(/\breturn [A-Z_0-9]+;/, 'return 0;'));
  add('result negated', code.replace(/\breturn ([^;]+);/, 'return !($1);'));
  add('number increased', code.replace(/\b(0x[0-9a-f]+|\d+)\b(?![>.])/, '($1 + 1)'));
  add('constant replaced by 0', code.replace(/(?<=[=(,:] )[A-Z][A-Z_0-9]{3,}\b/, '0'));
  add('value replaced by 0', code.replace(/^(\s*(?:const|let) \w+(?:: \w+)? = )[^;]+;/, '$10;'));
}
