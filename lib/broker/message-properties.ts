/** Properties of a message that code of this process gives us. */
import type { MessageProperties } from '../core/contract.js';
import { BrokerError } from './errors.js';
import { checkTopicName, problemOfText } from './topic-text.js';

const EXPIRY_SECONDS_MAX = 0xffff_ffff;
const BINARY_BYTES_MAX = 65_535;

/** Throws BrokerError NIDO_PUBLISH_INVALID unless a PUBLISH may carry them. */
export function checkMessageProperties(
  topicName: string, properties: MessageProperties | undefined,
): void {
  if (properties === undefined) return;
  const { messageExpiryInterval: expiry, responseTopic } = properties;
  if (
    expiry !== undefined &&
    !(Number.isInteger(expiry) && expiry >= 0 && expiry <= EXPIRY_SECONDS_MAX)
  ) {
    throw invalidMessage(
      topicName,
      `messageExpiryInterval is ${expiry}; allowed: whole seconds from 0 to 4294967295`,
    );
  }
  if (responseTopic !== undefined) checkTopicName(responseTopic); // [MQTT-3.3.2-14]
  const wrong = problemOfFields(properties);
  if (wrong !== undefined) throw invalidMessage(topicName, wrong);
}

function problemOfFields(properties: MessageProperties): string | undefined {
  const { contentType, correlationData, payloadFormatIndicator, userProperties } = properties;
  const problem = problemOfText(contentType ?? '', 'may be empty');
  if (problem !== undefined) return `contentType ${problem}`; // [MQTT-3.3.2-19]
  if (![undefined, 0, 1].includes(payloadFormatIndicator)) {
    return 'payloadFormatIndicator is neither 0 nor 1';
  }
  if (correlationData !== undefined &&
    !(ArrayBuffer.isView(correlationData) && correlationData.byteLength <= BINARY_BYTES_MAX)) {
    return `correlationData is not bytes, ${BINARY_BYTES_MAX} at most`;
  }
  if (userProperties === undefined) return undefined;
  if (!Array.isArray(userProperties)) return 'userProperties is not a list of pairs';
  for (const pair of userProperties as readonly (readonly unknown[])[]) {
    for (const text of [pair[0], pair[1]]) { // [MQTT-1.5.7-1]
      const wrong = problemOfText(text, 'may be empty');
      if (wrong !== undefined) return `userProperties: one of the strings ${wrong}`;
    }
  }
  return undefined;
}

export function invalidMessage(topicName: string, what: string): BrokerError {
  return new BrokerError('NIDO_PUBLISH_INVALID', `publish ${JSON.stringify(topicName)}: ${what}`);
}
