/** What one set of MQTT 5 properties said; properties.ts fills it. */
import {
  ASSIGNED_CLIENT_IDENTIFIER, AUTHENTICATION_DATA, AUTHENTICATION_METHOD, CONTENT_TYPE,
  CORRELATION_DATA, MAXIMUM_PACKET_SIZE, MAXIMUM_QOS, MESSAGE_EXPIRY_INTERVAL,
  PAYLOAD_FORMAT_INDICATOR, PROPERTY_LAST, REASON_STRING, RECEIVE_MAXIMUM,
  REQUEST_PROBLEM_INFORMATION, REQUEST_RESPONSE_INFORMATION, RESPONSE_INFORMATION, RESPONSE_TOPIC,
  RETAIN_AVAILABLE, SERVER_KEEP_ALIVE, SERVER_REFERENCE, SESSION_EXPIRY_INTERVAL,
  SHARED_SUBSCRIPTION_AVAILABLE, SUBSCRIPTION_IDENTIFIER, SUBSCRIPTION_IDENTIFIER_AVAILABLE,
  TOPIC_ALIAS, TOPIC_ALIAS_MAXIMUM, USER_PROPERTY, WILDCARD_SUBSCRIPTION_AVAILABLE,
  WILL_DELAY_INTERVAL,
} from '../shared/property';

const SLOTS_AT: u32 = 16;
export const PROPERTY_RECORD_BYTES: u32 = SLOTS_AT + ((PROPERTY_LAST + 1) << 3);

/**
 * One slot of 8 bytes for each property number. A slot is meaningful only when its bit is set in
 * `present`, so that a record is emptied by one store; the getters answer the default of the
 * standard for what is absent.
 * ```
 *   0         8             12                16 + 8 * id   20 + 8 * id
 *   +---------+-------------+-----------------+-------------+----------+
 *   | present | forwardedAt | forwardedLength | value or at | length   |  43 slots
 *   +---------+-------------+-----------------+-------------+----------+
 * ```
 * Positions point into the packet. Slot 38 counts User Properties; slot 11 has the first
 * Subscription Identifier, and their count in the place of the length.
 */
@unmanaged
export class PropertyRecord {
  /** Bit n: property n was there. */
  present: u64;
  /** The properties that a receiver of the message gets unaltered, in their order, as one range. */
  forwardedAt: u32;
  forwardedLength: u32;

  @inline
  slot(id: u32): u32 {
    return changetype<u32>(this) + SLOTS_AT + (id << 3);
  }
  @inline
  has(id: u32): bool {
    return (this.present & (1 << <u64>id)) != 0;
  }
  /**
   * Value of a number, position of a string or of binary data; `otherwise` when it was not there.
   */
  @inline
  valueOf(id: u32, otherwise: u32): u32 {
    return this.has(id) ? load<u32>(this.slot(id)) : otherwise;
  }
  /** Length of a string or of binary data; 0 when it was not there. */
  @inline
  lengthOf(id: u32): u32 {
    return this.has(id) ? load<u32>(this.slot(id), 4) : 0;
  }

  get sessionExpiryInterval(): u32 { return this.valueOf(SESSION_EXPIRY_INTERVAL, 0); }
  get receiveMaximum(): u32 { return this.valueOf(RECEIVE_MAXIMUM, 65535); }
  /** 0 = the peer set no limit. */
  get maximumPacketSize(): u32 { return this.valueOf(MAXIMUM_PACKET_SIZE, 0); }
  /** 0 = absent: an alias of 0 is never valid. */
  get topicAlias(): u32 { return this.valueOf(TOPIC_ALIAS, 0); }
  get topicAliasMaximum(): u32 { return this.valueOf(TOPIC_ALIAS_MAXIMUM, 0); }
  /** Seconds; -1 = the message does not expire. */
  get messageExpiryInterval(): f64 {
    return this.has(MESSAGE_EXPIRY_INTERVAL) ? <f64>this.valueOf(MESSAGE_EXPIRY_INTERVAL, 0) : -1;
  }
  get willDelayInterval(): u32 { return this.valueOf(WILL_DELAY_INTERVAL, 0); }
  /** Meaningful only when has(SERVER_KEEP_ALIVE). */
  get serverKeepAlive(): u32 { return this.valueOf(SERVER_KEEP_ALIVE, 0); }
  get payloadFormatIndicator(): u32 { return this.valueOf(PAYLOAD_FORMAT_INDICATOR, 0); }
  get requestProblemInformation(): u32 { return this.valueOf(REQUEST_PROBLEM_INFORMATION, 1); }
  get requestResponseInformation(): u32 { return this.valueOf(REQUEST_RESPONSE_INFORMATION, 0); }
  get maximumQos(): u32 { return this.valueOf(MAXIMUM_QOS, 2); }
  get retainAvailable(): u32 { return this.valueOf(RETAIN_AVAILABLE, 1); }
  get wildcardSubscriptionAvailable(): u32 {
    return this.valueOf(WILDCARD_SUBSCRIPTION_AVAILABLE, 1);
  }
  get subscriptionIdentifierAvailable(): u32 {
    return this.valueOf(SUBSCRIPTION_IDENTIFIER_AVAILABLE, 1);
  }
  get sharedSubscriptionAvailable(): u32 {
    return this.valueOf(SHARED_SUBSCRIPTION_AVAILABLE, 1);
  }
  get userPropertyCount(): u32 { return this.valueOf(USER_PROPERTY, 0); }
  /** The first one; 0 = none. */
  get subscriptionIdentifier(): u32 { return this.valueOf(SUBSCRIPTION_IDENTIFIER, 0); }
  get subscriptionIdentifierCount(): u32 { return this.lengthOf(SUBSCRIPTION_IDENTIFIER); }

  get contentTypeAt(): u32 { return this.valueOf(CONTENT_TYPE, 0); }
  get contentTypeLength(): u32 { return this.lengthOf(CONTENT_TYPE); }
  get responseTopicAt(): u32 { return this.valueOf(RESPONSE_TOPIC, 0); }
  get responseTopicLength(): u32 { return this.lengthOf(RESPONSE_TOPIC); }
  get correlationDataAt(): u32 { return this.valueOf(CORRELATION_DATA, 0); }
  get correlationDataLength(): u32 { return this.lengthOf(CORRELATION_DATA); }
  get assignedClientIdentifierAt(): u32 { return this.valueOf(ASSIGNED_CLIENT_IDENTIFIER, 0); }
  get assignedClientIdentifierLength(): u32 { return this.lengthOf(ASSIGNED_CLIENT_IDENTIFIER); }
  get authenticationMethodAt(): u32 { return this.valueOf(AUTHENTICATION_METHOD, 0); }
  get authenticationMethodLength(): u32 { return this.lengthOf(AUTHENTICATION_METHOD); }
  get authenticationDataAt(): u32 { return this.valueOf(AUTHENTICATION_DATA, 0); }
  get authenticationDataLength(): u32 { return this.lengthOf(AUTHENTICATION_DATA); }
  get responseInformationAt(): u32 { return this.valueOf(RESPONSE_INFORMATION, 0); }
  get responseInformationLength(): u32 { return this.lengthOf(RESPONSE_INFORMATION); }
  get serverReferenceAt(): u32 { return this.valueOf(SERVER_REFERENCE, 0); }
  get serverReferenceLength(): u32 { return this.lengthOf(SERVER_REFERENCE); }
  get reasonStringAt(): u32 { return this.valueOf(REASON_STRING, 0); }
  get reasonStringLength(): u32 { return this.lengthOf(REASON_STRING); }
}
if (offsetof<PropertyRecord>() != SLOTS_AT) ERROR('layout drift: PropertyRecord');
