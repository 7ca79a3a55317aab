/**
 * Topic Names and Topic Filters that code of this process gives us. What comes from a peer is
 * checked by the core.
 */
import { BrokerError } from './errors.js';

const TOPIC_BYTES_MAX = 65_535;
const SHARE_PREFIX = '$share/';

export interface ParsedFilter {
  /** Without the share prefix. */
  readonly filter: string;
  readonly shareName?: string;
}

/** Throws unless `topicName` may be published to [MQTT-3.3.2-2] [MQTT-4.7.3-1]. */
export function checkTopicName(topicName: string): void {
  const wrong =
    problemOfText(topicName) ??
    (/[+#]/.test(topicName) ? 'holds a wildcard, and messages go to one topic' : undefined);
  if (wrong === undefined) return;
  throw new BrokerError('NIDO_TOPIC_NAME_INVALID', `Topic Name ${quoted(topicName)} ${wrong}`);
}

/**
 * Takes `$share/<name>/<filter>` apart and throws unless the filter is a valid one.
 */
export function parseTopicFilter(topicFilter: string): ParsedFilter {
  const wrong = problemOfText(topicFilter);
  if (wrong !== undefined) throw invalid(topicFilter, wrong);
  const parsed = splitShare(topicFilter);
  if (
    parsed.shareName !== undefined &&
    (parsed.shareName === '' || /[+#]/.test(parsed.shareName))
  ) {
    throw invalid(topicFilter, 'has a share name that is empty or holds a wildcard');
  }
  if (parsed.filter === '') throw invalid(topicFilter, 'has no filter after the share name');
  const levels = parsed.filter.split('/');
  levels.forEach((level, position) => {
    if (level.includes('#') && (level !== '#' || position !== levels.length - 1)) {
      throw invalid(topicFilter, 'has a # that is not the whole of its last level');
    }
    if (level.includes('+') && level !== '+') {
      throw invalid(topicFilter, 'has a + that is not a whole level');
    }
  });
  return parsed;
}

/** The parts of a filter as sent; no checks. */
export function splitShare(topicFilter: string): ParsedFilter {
  if (!topicFilter.startsWith(SHARE_PREFIX)) return { filter: topicFilter };
  const end = topicFilter.indexOf('/', SHARE_PREFIX.length);
  if (end < 0) return { filter: '', shareName: topicFilter.slice(SHARE_PREFIX.length) };
  return {
    filter: topicFilter.slice(end + 1),
    shareName: topicFilter.slice(SHARE_PREFIX.length, end),
  };
}

export function joinShare(parsed: ParsedFilter): string {
  return parsed.shareName === undefined
    ? parsed.filter
    : `${SHARE_PREFIX}${parsed.shareName}/${parsed.filter}`;
}

export function hasWildcard(filter: string): boolean {
  return filter.includes('+') || filter.includes('#');
}

/** What a UTF-8 string of MQTT must not be. */
export function problemOfText(
  text: unknown, ifEmpty: 'may be empty' | 'is empty' = 'is empty',
): string | undefined {
  if (typeof text !== 'string') return 'is not a string';
  if (text === '') return ifEmpty === 'is empty' ? ifEmpty : undefined;
  if (text.includes('\0')) return 'holds U+0000';
  if (/\p{Surrogate}/u.test(text)) return 'holds a lone surrogate';
  return Buffer.byteLength(text) > TOPIC_BYTES_MAX
    ? `is longer than ${TOPIC_BYTES_MAX} bytes`
    : undefined;
}

function invalid(topicFilter: string, wrong: string): BrokerError {
  return new BrokerError(
    'NIDO_TOPIC_FILTER_INVALID',
    `Topic Filter ${quoted(topicFilter)} ${wrong}`,
  );
}

function quoted(text: unknown): string {
  return JSON.stringify(String(text).slice(0, 128));
}
