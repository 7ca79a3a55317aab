/** From properties as applications write them to those of the core. */
import { isUint8Array } from 'node:util/types';
import type { MessageProperties, UserProperties } from '../core/contract.js';
import type { PublishProperties, UserPropertiesInput } from './options.js';
import { textProblem } from './wire-text.js';

const U32_MAX = 0xffff_ffff;
const BINARY_BYTES_MAX = 65_535;

export function userPairs(given: UserPropertiesInput | undefined): UserProperties {
  if (given === undefined || given === null) return [];
  if (Array.isArray(given)) return given as UserProperties;
  const pairs: (readonly [string, string])[] = [];
  for (const [name, value] of Object.entries(given as Record<string, string | string[]>)) {
    for (const one of Array.isArray(value) ? value : [value]) pairs.push([name, String(one)]);
  }
  return pairs;
}

export function messageProperties(
  given: PublishProperties | undefined,
): MessageProperties | undefined {
  if (given === undefined) return undefined;
  const { payloadFormatIndicator, userProperties } = given;
  return {
    payloadFormatIndicator: payloadFormatIndicator === undefined
      ? undefined : payloadFormatIndicator ? 1 : 0,
    messageExpiryInterval: given.messageExpiryInterval,
    contentType: given.contentType,
    responseTopic: given.responseTopic,
    correlationData: given.correlationData,
    userProperties: userProperties === undefined ? undefined : userPairs(userProperties),
  };
}

/** Why these are no properties of a message; undefined when they are. */
export function propertiesProblem(properties: MessageProperties | undefined): string | undefined {
  if (properties === undefined) return undefined;
  const { contentType, correlationData, responseTopic, userProperties } = properties;
  const { messageExpiryInterval: seconds } = properties;
  if (responseTopic !== undefined) { // [MQTT-3.3.2-13] [MQTT-3.3.2-14]
    const wrong = /[+#]/.test(responseTopic) ? 'holds a wildcard' : textProblem(responseTopic);
    if (wrong !== undefined) return `responseTopic ${wrong}`;
    if (responseTopic === '') return 'responseTopic is empty'; // 5.0 [MQTT-4.7.3-1]
  }
  if (seconds !== undefined && !(Number.isInteger(seconds) && seconds >= 0 && seconds <= U32_MAX)) {
    return `messageExpiryInterval ${String(seconds)} is not a whole number from 0 to ${U32_MAX}`;
  }
  if (correlationData !== undefined && !isUint8Array(correlationData)) {
    return 'correlationData is not a Uint8Array (Buffer)';
  }
  if (correlationData !== undefined && correlationData.length > BINARY_BYTES_MAX) { // 5.0, 1.5.6
    return `correlationData is longer than ${BINARY_BYTES_MAX} bytes`;
  }
  const wrongType = contentType === undefined ? undefined : textProblem(contentType);
  if (wrongType !== undefined) return `contentType ${wrongType}`; // [MQTT-3.3.2-19]
  return pairsProblem(userProperties ?? []);
}

export function pairsProblem(pairs: UserProperties): string | undefined {
  for (const [name, value] of pairs) { // [MQTT-1.5.7-1]
    const wrong = textProblem(name) ?? textProblem(value);
    if (wrong !== undefined) return `userProperties: ${JSON.stringify(name)} ${wrong}`;
  }
  return undefined;
}
