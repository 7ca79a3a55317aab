/** `%j` and `%J`: a message as JSON, with the keys of mosquitto_sub. */
import type { IncomingMessage } from '../../client/index.js';
import { strftime } from './strftime.js';

export interface JsonOptions {
  /** `text`: as a string. `json`: the payload is JSON itself. */
  readonly payload: 'text' | 'json';
  readonly pretty?: boolean;
}

/** Throws when the payload is no JSON and should be. */
export function jsonOf(message: IncomingMessage, when: Date, options: JsonOptions): string {
  const { payload, qos, retain } = message;
  const microseconds = `${when.getMilliseconds()}`.padStart(3, '0').padEnd(6, '0');
  const properties = propertiesOf(message);
  const object = {
    tst: strftime(when, `%Y-%m-%dT%H:%M:%S.${microseconds}Z%z`),
    topic: message.topicName,
    qos,
    retain: retain ? 1 : 0,
    payloadlen: payload.length,
    ...Object.keys(properties).length === 0 ? {} : { properties },
    payload: payloadOf(payload, options.payload),
  };
  return JSON.stringify(object, undefined, options.pretty === true ? '\t' : undefined);
}

function payloadOf(payload: Buffer, as: JsonOptions['payload']): unknown {
  if (payload.length === 0) return null;
  return as === 'json' ? JSON.parse(payload.toString()) : payload.toString();
}

function propertiesOf({ properties }: IncomingMessage): object {
  const pairs = new Map<string, string>(properties.userProperties);
  const found: Record<string, unknown> = {
    'content-type': properties.contentType,
    'user-properties': pairs.size === 0 ? undefined : Object.fromEntries(pairs),
    'correlation-data': properties.correlationData === undefined
      ? undefined : Buffer.from(properties.correlationData).toString(),
    'response-topic': properties.responseTopic,
    'payload-format-indicator': properties.payloadFormatIndicator === undefined
      ? undefined : Number(properties.payloadFormatIndicator),
    'message-expiry-interval': properties.messageExpiryInterval,
  };
  return Object.fromEntries(Object.entries(found).filter(([, value]) => value !== undefined));
}
