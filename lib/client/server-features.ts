/** What CONNACK said that the server can do, with MQTT's defaults for what it did not say. */
import type { ConnackFields, ProtocolVersion, Qos } from '../core/contract.js';

export interface ServerFeatures {
  readonly maximumQos: Qos;
  readonly retainAvailable: boolean;
  readonly wildcardSubscriptions: boolean;
  readonly sharedSubscriptions: boolean;
  readonly subscriptionIdentifiers: boolean;
  readonly receiveMaximum: number;
  /** 0 = none said. */
  readonly maximumPacketSize: number;
  readonly topicAliasMaximum: number;
  readonly responseInformation: string | undefined;
}

const RECEIVE_MAXIMUM_DEFAULT = 65_535;

export function featuresOf(connack: ConnackFields, version: ProtocolVersion): ServerFeatures {
  return {
    maximumQos: connack.maximumQos ?? 2, // [MQTT-3.2.2-11]
    retainAvailable: connack.retainAvailable ?? true, // [MQTT-3.2.2-14]
    wildcardSubscriptions: connack.wildcardSubscriptionAvailable ?? true,
    sharedSubscriptions: connack.sharedSubscriptionAvailable ?? true,
    subscriptionIdentifiers: version === 5 && (connack.subscriptionIdentifiersAvailable ?? true),
    receiveMaximum: connack.receiveMaximum ?? RECEIVE_MAXIMUM_DEFAULT, // [MQTT-3.3.4-7]
    maximumPacketSize: connack.maximumPacketSize ?? 0, // [MQTT-3.2.2-15]
    topicAliasMaximum: connack.topicAliasMaximum ?? 0, // [MQTT-3.2.2-18]
    responseInformation: connack.responseInformation,
  };
}

export type SessionAtServer = 'present' | 'absent' | 'unknown';

/**
 * MQTT 3.1 has no Session Present: its byte is reserved there. A session that was asked to stay may
 * well be there, and giving up its exchanges would lose messages of QoS 2 and repeat others.
 */
export function sessionAtServer(
  connack: ConnackFields, version: ProtocolVersion, asked: 'clean' | 'stays',
): SessionAtServer {
  if (version === 3) return asked === 'clean' ? 'absent' : 'unknown';
  return connack.sessionPresent ? 'present' : 'absent';
}

/** Before the first CONNACK: everything is possible. */
export const SERVER_UNKNOWN: ServerFeatures = featuresOf(
  { reasonCode: 0, sessionPresent: false }, 5);
