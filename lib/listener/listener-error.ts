/**
 * Errors of doors. The message says what was wrong, where, and what to do; `code` is for programs
 * and never changes.
 */

export type ListenerErrorCode =
  | 'NIDO_LISTENER_ADDRESS_UNAVAILABLE'
  | 'NIDO_LISTENER_ALREADY_STARTED'
  | 'NIDO_LISTENER_FAILED'
  | 'NIDO_LISTENER_FILE_UNREADABLE'
  | 'NIDO_LISTENER_OPTION_BAD'
  | 'NIDO_LISTENER_PATH_TAKEN'
  | 'NIDO_LISTENER_PATH_UNUSABLE'
  | 'NIDO_LISTENER_PORT_FORBIDDEN'
  | 'NIDO_LISTENER_PORT_TAKEN'
  | 'NIDO_LISTENER_PSK_BAD'
  | 'NIDO_LISTENER_STOPPED'
  | 'NIDO_LISTENER_TLS_CA_BAD'
  | 'NIDO_LISTENER_TLS_CA_MISSING'
  | 'NIDO_LISTENER_TLS_CERTIFICATE_BAD'
  | 'NIDO_LISTENER_TLS_CERTIFICATE_MISSING'
  | 'NIDO_LISTENER_TLS_KEY_BAD'
  | 'NIDO_LISTENER_TLS_KEY_MISMATCH'
  | 'NIDO_LISTENER_TLS_OPTIONS_BAD';

export class ListenerError extends Error {
  override readonly name = 'ListenerError';
  constructor(readonly code: ListenerErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
  }
}

export type TransportErrorCode =
  | 'NIDO_TRANSPORT_ABORTED'
  | 'NIDO_TRANSPORT_CONNECT_DEADLINE'
  | 'NIDO_TRANSPORT_CONNECT_FAILED'
  | 'NIDO_TRANSPORT_CONNECT_REFUSED'
  | 'NIDO_TRANSPORT_END_DEADLINE'
  | 'NIDO_TRANSPORT_HALF_OPEN_DEADLINE'
  | 'NIDO_TRANSPORT_HOST_UNKNOWN'
  | 'NIDO_TRANSPORT_OPTION_BAD'
  | 'NIDO_TRANSPORT_TEXT_FRAME'
  | 'NIDO_TRANSPORT_TLS_FAILED'
  | 'NIDO_TRANSPORT_WEBSOCKET_REFUSED';

export class TransportError extends Error {
  override readonly name = 'TransportError';
  constructor(readonly code: TransportErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
  }
}

/** `code` of a system error, for example `EADDRINUSE`; `''` for anything else. */
export function systemCode(error: unknown): string {
  const code = (error as { code?: unknown } | null | undefined)?.code;
  return typeof code === 'string' ? code : '';
}

/** The message of whatever was thrown. */
export function reasonOf(error: unknown): string {
  // Not `instanceof Error`: under jest Node's own errors come from another realm.
  return String((error as { message?: unknown } | null | undefined)?.message ?? error);
}
