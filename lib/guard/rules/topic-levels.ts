/**
 * Topic Filters as lists of topic levels. Nothing here says whether a filter matches a Topic Name:
 * that is the index's business. Here is what the index is not asked: are two filters about any
 * common topic, and which Topic Names stand for all topics of a filter.
 */
const UTF8_BYTES_MAX = 65_535;
/** mosquitto's own limit for an acl_file, and far above what any rule needs. */
const RULE_LEVELS_MAX = 201;

/**
 * Says what is wrong with a filter, or undefined when it is well formed.
 */
export function filterProblem(topicFilter: string): string | undefined {
  if (topicFilter === '') return 'it is empty'; // [MQTT-4.7.3-1]
  if (topicFilter.includes('\u0000')) return 'it has a null character'; // [MQTT-4.7.3-2]
  if (Buffer.byteLength(topicFilter) > UTF8_BYTES_MAX) {
    return `it is longer than ${UTF8_BYTES_MAX} bytes`;
  }
  const levels = topicFilter.split('/');
  if (levels.length > RULE_LEVELS_MAX) return `it has more than ${RULE_LEVELS_MAX} levels`;
  for (const [at, level] of levels.entries()) {
    if (level.includes('#') && (level !== '#' || at !== levels.length - 1)) {
      return '# must be the last level, alone';
    }
    if (level.includes('+') && level !== '+') return '+ must be a level of its own';
  }
  return undefined;
}

export function hasWildcard(topicFilter: string): boolean {
  return topicFilter.includes('+') || topicFilter.includes('#');
}

/** Is there any Topic Name that both filters match? */
export function filtersOverlap(left: readonly string[], right: readonly string[]): boolean {
  // Wildcards do not match a first level that begins with $ [MQTT-4.7.2-1].
  if (isDollar(left[0]) !== isDollar(right[0])) return false;
  const length = Math.max(left.length, right.length);
  for (let at = 0; at < length; at += 1) {
    const [one, other] = [left[at], right[at]];
    // Also when the other has just ended: `a/#` matches `a`.
    if (one === '#' || other === '#') return true;
    if (one === undefined || other === undefined) return false;
    if (one !== other && one !== '+' && other !== '+') return false;
  }
  return true;
}

function isDollar(level: string): boolean {
  return level.startsWith('$');
}

/**
 * Topic Names that stand for a whole filter: a rule matches all of them exactly when it matches
 * every topic of the filter. `+` becomes a level that stands in no rule, so that only a wildcard
 * can match it; `#` becomes more such levels than any rule is deep, and no level at all.
 */
export function representatives(
  topicFilter: string, strangers: { readonly level: string; readonly depth: number },
): string[] {
  const levels = topicFilter.split('/').map((level) => (level === '+' ? strangers.level : level));
  if (levels[levels.length - 1] !== '#') return [levels.join('/')];
  const parent = levels.slice(0, -1);
  const missing = Math.max(1, strangers.depth + 1 - parent.length);
  const deep = [...parent, ...Array<string>(missing).fill(strangers.level)];
  const shallow = parent.length === 0 ? [strangers.level] : parent;
  // A first level alone that is empty is no Topic Name; its nearest child stands for it.
  const nearest = shallow.join('/') === '' ? `/${strangers.level}` : shallow.join('/');
  return [nearest, deep.join('/')];
}

/** A filter of a rule: `%c` and `%u` stand for the names of whoever asks. */
export interface RuleFilter {
  /** What goes into the index: a level with a placeholder is `+` there. */
  readonly indexed: string;
  readonly levels: readonly string[];
  /**
   * Positions of levels with a placeholder, to be compared with the name once the index has
   * matched.
   */
  readonly placeholders: readonly number[];
}

export function compileRuleFilter(entry: {
  readonly topicFilter: string; readonly placeholders?: 'literal';
}): RuleFilter {
  const levels = entry.topicFilter.split('/');
  const placeholders = entry.placeholders === 'literal' ? []
    : levels.flatMap((level, at) => (/%[cu]/.test(level) ? [at] : []));
  const indexed = levels.map((level, at) => (placeholders.includes(at) ? '+' : level)).join('/');
  return { indexed, levels, placeholders };
}

export interface Names {
  readonly clientId: string;
  readonly username?: string;
}

/** A name that could change the shape of a filter: wildcards, a separator, nothing at all. */
function isUnfit(name: string): boolean {
  return name === '' || /[+#/]/.test(name) || name.includes('\u0000');
}

/**
 * A level of a rule with names put in. `absent` when it asks for a User Name and there is none;
 * `unfit` when a name would widen or move the rule.
 */
export function fillLevel(level: string, names: Names): { text: string } | 'absent' | 'unfit' {
  if (level.includes('%u') && names.username === undefined) return 'absent';
  let unfit = false;
  // One pass, so that a client named "%u" stays a client named "%u".
  const text = level.replace(/%([cu])/g, (_, kind: string) => {
    const name = kind === 'c' ? names.clientId : names.username ?? '';
    unfit ||= isUnfit(name);
    return name;
  });
  return unfit ? 'unfit' : { text };
}

