/** From properties as applications write them to those of the core. */
import type { MessageProperties, UserProperties } from '../core/contract.js';
import type { PublishProperties, UserPropertiesInput } from './options.js';

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
