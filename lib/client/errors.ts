/**
 * Errors of the client. The message says what was wrong, where, and what to do; `code` never
 * changes; `reasonCode` is MQTT's own when there is one.
 */
import { reasonName } from './reason-names.js';

export type ClientErrorCode =
  | 'NIDO_CLIENT_ABORTED'
  | 'NIDO_CLIENT_AUTHENTICATION'
  | 'NIDO_CLIENT_CONNACK_TIMEOUT'
  | 'NIDO_CLIENT_CONNECT_FAILED'
  | 'NIDO_CLIENT_CORE'
  | 'NIDO_CLIENT_DISCONNECTED'
  | 'NIDO_CLIENT_ENDED'
  | 'NIDO_CLIENT_HANDLER_TIMEOUT'
  | 'NIDO_CLIENT_KEEP_ALIVE'
  | 'NIDO_CLIENT_MESSAGE_EXPIRED'
  | 'NIDO_CLIENT_OPTION_INVALID'
  | 'NIDO_CLIENT_OPTION_REFUSED'
  | 'NIDO_CLIENT_PROTOCOL'
  | 'NIDO_CLIENT_PUBLISH_INVALID'
  | 'NIDO_CLIENT_PUBLISH_REFUSED'
  | 'NIDO_CLIENT_QUEUE_FULL'
  | 'NIDO_CLIENT_REFUSED'
  | 'NIDO_CLIENT_REQUEST_TIMEOUT'
  | 'NIDO_CLIENT_REQUEST_UNSUPPORTED'
  | 'NIDO_CLIENT_SESSION_UNKNOWN'
  | 'NIDO_CLIENT_STORE'
  | 'NIDO_CLIENT_SUBSCRIBE_INVALID'
  | 'NIDO_CLIENT_SUBSCRIBE_REFUSED'
  | 'NIDO_CLIENT_UNSUBSCRIBE_REFUSED';

export interface ClientErrorDetails {
  readonly reasonCode?: number;
  readonly cause?: unknown;
}

export class NidoClientError extends Error {
  override readonly name = 'NidoClientError';
  /** MQTT's Reason Code; those of 3.x are given as their MQTT 5 equivalents. */
  readonly reasonCode: number | undefined;

  constructor(
    readonly code: ClientErrorCode,
    message: string,
    { reasonCode, cause }: ClientErrorDetails = {},
  ) {
    const name = reasonCode === undefined ? '' : ` (${reasonName(reasonCode)})`;
    // A message that is made of others may end with it already.
    const text = message.endsWith(name) ? message : message + name;
    super(text, cause === undefined ? undefined : { cause });
    this.reasonCode = reasonCode;
  }
}

/** The message of whatever was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
