/** The envelope of Nest's stock transport: `{pattern, data, id}` there, `{response, ...}` back. */

export interface RequestEnvelope {
  readonly pattern: unknown;
  readonly data: unknown;
  /** Only in requests. */
  readonly id?: string;
}

/**
 * Both keys have to be there: a device may well send an object with `data` or `id` of its own, and
 * gets it to the handler untouched.
 */
export function isEnvelope(value: unknown): value is RequestEnvelope {
  return (
    typeof value === 'object' &&
    value !== null &&
    'pattern' in value &&
    'data' in value &&
    Object.hasOwn(value, 'pattern')
  );
}

const REPLY_LEVEL = '/reply';

export function replyTopicOf(topicName: string): string {
  return `${topicName}${REPLY_LEVEL}`;
}

/**
 * A reply of a stock service, or of another process of this application: no request, although the
 * filter of a request handler may match its topic.
 */
export function isReply(topicName: string, value: unknown): boolean {
  if (!topicName.endsWith(REPLY_LEVEL) || typeof value !== 'object' || value === null) return false;
  const { id, pattern } = value as Record<string, unknown>;
  const hasAnswer = 'response' in value || 'err' in value || 'isDisposed' in value;
  return typeof id === 'string' && pattern === undefined && hasAnswer;
}

/** Marks of replies to Response Topics: a single plain reply has none of them. */
export const REPLY_MARK = 'nido-reply';
/** The payload is an error, as JSON. */
export const REPLY_ERROR = 'error';
/** More replies follow. */
export const REPLY_MORE = 'more';
/** The end after replies marked `more`; the payload is empty. */
export const REPLY_END = 'end';
