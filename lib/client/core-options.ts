/** What the core of a client needs to know. */
import type { CoreOptions } from '../core/contract.js';
import {
  CONNECTIONS_MAX, DROP_EVENTS_PER_TURN_MAX, PIECE_BYTES_MAX, SESSIONS_MAX,
  SUBSCRIPTIONS_PER_SESSION_MAX, TOPIC_CACHE_MAX, UNAUTHENTICATED_BYTES_MAX, WITHHOLD_MS_MAX,
  clientLimits,
} from './client-limits.js';
import type { ResolvedOptions } from './resolve-options.js';

export function coreOptions(options: ResolvedOptions): CoreOptions {
  const { limits } = options;
  return {
    memoryBytes: limits.memoryBytes,
    connectionsMax: CONNECTIONS_MAX,
    sessionsMax: SESSIONS_MAX,
    packetBytesMax: options.maximumPacketSize,
    receiveMaximum: options.receiveMaximum,
    topicAliasMaximum: options.topicAliasMaximum,
    topicLevelsMax: clientLimits.topicLevelsMax,
    userPropertiesMax: clientLimits.userPropertiesMax,
    unauthenticatedBytesMax: UNAUTHENTICATED_BYTES_MAX,
    queueMessagesMax: limits.queueMessagesMax,
    queueBytesMax: limits.queueBytesMax,
    slabBytesMax: clientLimits.slabBytesMax,
    slabWatermarkBytes: clientLimits.slabWatermarkBytes,
    heldBytesMax: clientLimits.heldBytesMax,
    withholdMsMax: WITHHOLD_MS_MAX,
    retainedMessagesMax: 0,
    retainedBytesMax: 0,
    subscriptionsPerSessionMax: SUBSCRIPTIONS_PER_SESSION_MAX,
    sharedStrategy: 'round-robin',
    validatePayloadFormat: 'no',
    topicCacheMax: TOPIC_CACHE_MAX,
    pieceBytesMax: PIECE_BYTES_MAX,
    dropEventsPerTurnMax: DROP_EVENTS_PER_TURN_MAX,
  };
}
