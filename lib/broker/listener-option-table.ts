/** Options of the broker that a listener may have for its own clients. */
import type { OptionSpec } from './option-table.js';

/** Limits and choices that a listener may have for its own clients. */
const OF_A_LISTENER: ReadonlySet<string> = new Set([
  'limits.packetBytesMax', 'limits.receiveMaximum', 'limits.inflightMax',
  'limits.topicAliasMaximum', 'limits.topicLevelsMax', 'limits.userPropertiesMax',
  'limits.unauthenticatedBytesMax', 'limits.connectTimeoutSeconds', 'limits.clientIdBytesMax',
  'limits.slabBytesMax', 'limits.slabWatermarkBytes', 'limits.heldBytesMax',
  'limits.subscriptionsPerSessionMax',
  'mqtt.maximumQos', 'mqtt.retainAvailable', 'mqtt.wildcardSubscriptionAvailable',
  'mqtt.sharedSubscriptionAvailable', 'mqtt.subscriptionIdentifiersAvailable',
  'mqtt.validatePayloadFormat', 'mqtt.serverKeepAliveSeconds', 'mqtt.keepAliveSecondsMax',
  'mqtt.sessionExpirySecondsMax', 'mqtt.sessionExpirySecondsMaxV3', 'mqtt.responseInformation',
  'mqtt.serverReference', 'mqtt.sessionOfAnotherUser',
]);

/** An option of all clients as one of a listener's: left out, what holds for all holds. */
export function ofListener(spec: OptionSpec): OptionSpec {
  return {
    ...spec,
    path: `listeners[].${spec.path}`,
    default: undefined,
    description: `As ${spec.path}, for clients of this listener`,
  };
}

export function optionsOfListeners(all: readonly OptionSpec[]): OptionSpec[] {
  return all.filter(({ path }) => OF_A_LISTENER.has(path)).map(ofListener);
}
