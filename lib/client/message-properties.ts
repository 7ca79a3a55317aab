/** From properties as applications write them to those of the core. */
import type { MessageProperties, UserProperties } from '../core/contract.js';
import type { PublishProperties, UserPropertiesInput } from './options.js';
import { textProblem } from './wire-text.js';

export function userPairs(given: UserPropertiesInput | undefined): UserProperties {
  if (given === undefined) return [];
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
  const { contentType, responseTopic, userProperties } = properties;
  if (responseTopic !== undefined) { // [MQTT-3.3.2-13] [MQTT-3.3.2-14]
    const wrong = /[+#]/.test(responseTopic) ? 'holds a wildcard' : textProblem(responseTopic);
    if (wrong !== undefined) return `responseTopic ${wrong}`;
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
