/**
 * mosquitto's `acl_file`, read as mosquitto 2.0 reads it: `user <name>`, `topic
 * [read|write|readwrite|deny] <filter>`, `pattern [read|write|readwrite|deny] <filter>` with %c and
 * %u, comments with `#`.
 */
import { fileProblem } from '../errors.js';
import type { RuleEntry } from './rule.js';
import { filterProblem } from './topic-levels.js';

export interface AclFile {
  /** Rules of `topic` lines, in the order in which mosquitto looks at them. */
  readonly topics: readonly RuleEntry[];
  /** Rules of `pattern` lines; not even looked at for a client whose names hold wildcards. */
  readonly patterns: readonly RuleEntry[];
}

const accesses = new Map([
  ['read', { effect: 'allow', publish: false, receive: true }],
  ['write', { effect: 'allow', publish: true, receive: false }],
  ['readwrite', { effect: 'allow', publish: true, receive: true }],
  ['deny', { effect: 'deny', publish: true, receive: true }],
] as const);
type AccessName = typeof accesses extends Map<infer K, unknown> ? K : never;

export function parseAclFile(text: string, path: string): AclFile {
  const topics: RuleEntry[] = [];
  const patterns: RuleEntry[] = [];
  let user: string | undefined;
  text.split('\n').forEach((raw, at) => {
    const where = { path, line: at + 1 };
    const line = raw.replace(/[ \t\r\v\f]+$/, '');
    if (line.startsWith('#')) return;
    // mosquitto splits at blanks only: a tab belongs to the word.
    const words = /^ *([^ ]+)(?: +(.*))?$/s.exec(line);
    if (!words) return;
    const [, keyword, rest = ''] = words;
    if (keyword === 'user') {
      user = rest.trim();
      if (user === '') {
        throw fileProblem('NIDO_ACL_FILE_MALFORMED', where, 'the name of the user is missing');
      }
    } else if (keyword === 'topic') {
      topics.push(
        readLine(rest, { ...where, keyword, users: user === undefined ? 'anonymous' : [user] }),
      );
    } else if (keyword === 'pattern') {
      patterns.push(readLine(rest, { ...where, keyword }));
    } else {
      throw fileProblem(
        'NIDO_ACL_FILE_MALFORMED', where, 'a line begins with user, topic, pattern or #',
      );
    }
  });
  if (topics.length + patterns.length === 0) {
    throw fileProblem(
      'NIDO_ACL_FILE_EMPTY', { path }, 'there is no rule in it; write one or leave acl_file out',
    );
  }
  return { topics: denialsFirst(topics), patterns: denialsFirst(patterns) };
}

function readLine(
  rest: string,
  where: { path: string; line: number; keyword: string; users?: readonly string[] | 'anonymous' },
): RuleEntry {
  const words = /^([^ ]+) +(.*)$/s.exec(rest);
  // One word is a filter, for reading and writing; with two or more, the first is the access.
  const accessName = words ? words[1] : 'readwrite';
  const topicFilter = (words ? words[2] : rest).trim();
  const access = accesses.get(accessName as AccessName);
  if (topicFilter === '') {
    throw fileProblem('NIDO_ACL_FILE_MALFORMED', where, 'the topic is missing');
  }
  if (!access) {
    const message = `${JSON.stringify(accessName)} is not read, write, readwrite or deny`;
    throw fileProblem('NIDO_ACL_FILE_MALFORMED', where, message);
  }
  const problem = filterProblem(topicFilter);
  if (problem) {
    const message = `Topic Filter ${JSON.stringify(topicFilter)}: ${problem}`;
    throw fileProblem('NIDO_ACL_FILE_MALFORMED', where, message);
  }
  const { path, line, keyword, users } = where;
  const placeholders = keyword === 'topic' ? 'literal' : undefined;
  return {
    ...access, topicFilter, users, placeholders,
    origin: { path, line, text: `${keyword} ${accessName} ${topicFilter}` },
  };
}

/** mosquitto puts denials at the front of its lists, wherever they stand in the file. */
function denialsFirst(entries: readonly RuleEntry[]): RuleEntry[] {
  return [
    ...entries.filter((entry) => entry.effect === 'deny'),
    ...entries.filter((entry) => entry.effect === 'allow'),
  ];
}
