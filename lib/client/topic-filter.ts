/** Topic Filters that code of this process gives us. */
import { NidoClientError } from './errors.js';
import { textProblem } from './wire-text.js';

const SHARE_PREFIX = '$share/';
const FNV_OFFSET = 0x811c9dc5;
const FNV_PRIME = 0x01000193;
const IDENTIFIER_MASK = 0x0fff_ffff;

export interface ParsedFilter {
  /** Without the share prefix: what Topic Names are matched against. */
  readonly filter: string;
  readonly shareName?: string;
}

/** Takes `$share/<name>/<filter>` apart; throws unless it is a valid filter. */
export function parseTopicFilter(topicFilter: string): ParsedFilter {
  const wrong = filterProblem(topicFilter);
  if (wrong !== undefined) throw invalid(topicFilter, wrong);
  const parsed = splitShare(topicFilter);
  if (parsed.shareName === '' || /[+#]/.test(parsed.shareName ?? '')) {
    throw invalid(topicFilter, 'has a share name that is empty or holds a wildcard');
  }
  if (parsed.filter === '') throw invalid(topicFilter, 'has no filter behind the share name');
  const levels = parsed.filter.split('/');
  // 3.1.1 [MQTT-4.7.1-2] [MQTT-4.7.1-3], 5.0 [MQTT-4.7.1-1] [MQTT-4.7.1-2]
  levels.forEach((level, at) => {
    if (level.includes('#') && (level !== '#' || at !== levels.length - 1)) {
      throw invalid(topicFilter, 'has a # that is not the whole of its last level');
    }
    if (level.includes('+') && level !== '+') {
      throw invalid(topicFilter, 'has a + that is not the whole of a level');
    }
  });
  return parsed;
}

function splitShare(topicFilter: string): ParsedFilter {
  if (!topicFilter.startsWith(SHARE_PREFIX)) return { filter: topicFilter };
  const end = topicFilter.indexOf('/', SHARE_PREFIX.length);
  if (end < 0) return { filter: '', shareName: topicFilter.slice(SHARE_PREFIX.length) };
  return {
    filter: topicFilter.slice(end + 1),
    shareName: topicFilter.slice(SHARE_PREFIX.length, end),
  };
}

function filterProblem(topicFilter: unknown): string | undefined {
  // [MQTT-3.8.3-1] [MQTT-3.10.3-1] [MQTT-4.7.3-1]
  return topicFilter === '' ? 'is empty' : textProblem(topicFilter);
}

function invalid(topicFilter: unknown, why: string): NidoClientError {
  return new NidoClientError('NIDO_CLIENT_SUBSCRIBE_INVALID',
    `Topic Filter ${JSON.stringify(topicFilter)} ${why}`);
}

export function hasWildcard(filter: string): boolean {
  return filter.includes('+') || filter.includes('#');
}

/**
 * A Subscription Identifier that follows from the filter, so that messages which a lasting session
 * kept for a former process still find the handler of the same filter in this one.
 */
export function identifierFor(topicFilter: string, isTaken: (id: number) => boolean): number {
  let hash = FNV_OFFSET;
  for (let at = 0; at < topicFilter.length; at += 1) {
    hash = Math.imul(hash ^ topicFilter.charCodeAt(at), FNV_PRIME);
  }
  let identifier = hash & IDENTIFIER_MASK;
  while (identifier === 0 || isTaken(identifier)) identifier = (identifier + 1) & IDENTIFIER_MASK;
  return identifier;
}
