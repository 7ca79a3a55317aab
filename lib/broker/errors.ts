/**
 * Errors of the broker. The message says what was wrong, where, and what to do; `code` never
 * changes.
 */

export type BrokerErrorCode =
  | 'NIDO_BROKER_CLOSED'
  | 'NIDO_BROKER_STATE'
  | 'NIDO_CLIENT_UNKNOWN'
  | 'NIDO_HANDLER_TIMEOUT'
  | 'NIDO_HOOK_INVALID'
  | 'NIDO_LISTENER_OPEN'
  | 'NIDO_OPTION_INVALID'
  | 'NIDO_PUBLISH_INVALID'
  | 'NIDO_PUBLISH_REFUSED'
  | 'NIDO_SUBSCRIBE_INVALID'
  | 'NIDO_SUBSCRIBE_REFUSED'
  | 'NIDO_TOPIC_FILTER_INVALID'
  | 'NIDO_TOPIC_NAME_INVALID';

export class BrokerError extends Error {
  override readonly name: string = 'BrokerError';
  constructor(
    readonly code: BrokerErrorCode,
    message: string,
    options?: { cause?: unknown },
  ) {
    super(message, options);
  }
}

/** An option that does not exist or has a value that it cannot have. */
export class OptionError extends BrokerError {
  override readonly name = 'OptionError';
  constructor(
    /** Where: `limits.packetBytesMax`, `listeners[1].port`. */
    readonly path: string,
    /** What would have been right, in words. */
    readonly allowed: string,
    message: string,
  ) {
    super('NIDO_OPTION_INVALID', `${path}: ${message}. Allowed: ${allowed}`);
  }
}

/** A message that the broker did not take: `reasonCode` is one of PUBACK's in MQTT 5. */
export class PublishError extends BrokerError {
  override readonly name = 'PublishError';
  constructor(
    readonly reasonCode: number,
    message: string,
  ) {
    super('NIDO_PUBLISH_REFUSED', message);
  }
}

/** The message of whatever was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
