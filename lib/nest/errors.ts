/** Errors of the Nest room. The message says what was wrong, where, and what to do. */
import { RpcException } from '@nestjs/microservices';

export type NestErrorCode =
  | 'NIDO_NEST_BROKER_IN_JOIN'
  | 'NIDO_NEST_CLOSED'
  | 'NIDO_NEST_CODEC'
  | 'NIDO_NEST_CODEC_PACKAGE'
  | 'NIDO_NEST_HANDLER_NACKED'
  | 'NIDO_NEST_HANDLER_TIMEOUT'
  | 'NIDO_NEST_HOST_IN_CLUSTER'
  | 'NIDO_NEST_NOT_LISTENING'
  | 'NIDO_NEST_OPTION_INVALID'
  | 'NIDO_NEST_PROVIDER_SCOPED'
  | 'NIDO_NEST_REPLY_FAILED'
  | 'NIDO_NEST_REQUEST_NEEDS_MQTT5'
  | 'NIDO_NEST_REQUEST_TIMEOUT'
  | 'NIDO_NEST_SUBSCRIPTION_REFUSED'
  | 'NIDO_NEST_TOPIC_INVALID'
  | 'NIDO_NEST_UNREACHABLE';

export class NidoNestError extends Error {
  override readonly name: string = 'NidoNestError';
  constructor(
    readonly code: NestErrorCode,
    message: string,
    options?: { cause?: unknown },
  ) {
    super(message, options);
  }
}

/** No reply within the time of the request. */
export class NidoTimeoutError extends NidoNestError {
  override readonly name = 'NidoTimeoutError';
  constructor(
    readonly topicName: string,
    readonly timeoutMs: number,
  ) {
    super(
      'NIDO_NEST_REQUEST_TIMEOUT',
      `no reply to ${JSON.stringify(topicName)} within ${timeoutMs} ms: is a handler subscribed ` +
        'to it, and does it answer? (option requestTimeout, 0 = wait for ever)',
    );
  }
}

/** The payload is not what the codec of the handler (or client) expects. */
export class CodecError extends NidoNestError {
  override readonly name = 'CodecError';
  constructor(
    readonly codec: string,
    message: string,
    options?: { cause?: unknown },
  ) {
    super('NIDO_NEST_CODEC', `${codec}: ${message}`, options);
  }
}

/**
 * Throw it in a handler to choose the Reason Code that the publisher of a QoS 1 or 2 message sees
 * in MQTT 5, for example 0x97 (Quota exceeded).
 */
export class MqttReasonException extends RpcException {
  constructor(
    readonly reasonCode: number,
    message: string,
  ) {
    super({ status: 'error', message, reasonCode });
  }
}

/** The words of whatever was thrown; Nest's filters turn errors into plain objects. */
export function messageOf(error: unknown): string {
  if (error instanceof Error) return error.message;
  const message = (error as { message?: unknown } | null | undefined)?.message;
  if (typeof message === 'string') return message;
  return typeof error === 'string' ? error : JSON.stringify(error);
}
