/** From the options of the core to the numbers that it knows. */
import {
  LIMIT_DROP_ROWS, LIMIT_HELD_BYTES, LIMIT_MAXIMUM_QOS, LIMIT_PACKET_BYTES, LIMIT_QUEUE_BYTES,
  LIMIT_QUEUE_MESSAGES, LIMIT_RECEIVE_MAXIMUM, LIMIT_RETAIN_AVAILABLE, LIMIT_RETAINED_BYTES,
  LIMIT_RETAINED_MESSAGES, LIMIT_SHARED_STRATEGY, LIMIT_SLAB_BYTES, LIMIT_SLAB_WATERMARK,
  LIMIT_TOPIC_ALIAS, LIMIT_TOPIC_LEVELS, LIMIT_UNAUTHENTICATED_BYTES, LIMIT_USER_PROPERTIES,
  LIMIT_VALIDATE_PAYLOAD,
  LIMIT_WITHHOLD_MS, STRATEGY_HASH_CLIENT, STRATEGY_HASH_TOPIC, STRATEGY_ROUND_ROBIN,
  STRATEGY_STICKY,
} from '../../assembly/shared/abi.js';
import {
  MEMORY_CARRY, MEMORY_INDEX, MEMORY_MESSAGE, MEMORY_RECORD, MEMORY_RETAINED, MEMORY_SLAB,
} from '../../assembly/shared/memory-class.js';
import type { ConnectionLimits, CoreOptions, CoreStats, DropReason } from './contract.js';
import type { CoreExports } from './instance.js';

/** In the order of DROP_* in assembly/shared/abi.ts. */
export const DROP_REASONS: readonly DropReason[] = [
  'queue-full', 'slab-full', 'memory', 'expired', 'packet-too-large', 'not-authorized',
  'no-receiver-room',
  'session-ended', 'retained-full', 'refused-by-receiver', 'intercepted', 'interceptor-failed',
];

const STRATEGIES = {
  'round-robin': STRATEGY_ROUND_ROBIN,
  sticky: STRATEGY_STICKY,
  'hash-client': STRATEGY_HASH_CLIENT,
  'hash-topic': STRATEGY_HASH_TOPIC,
} as const;

/**
 * Shares of linear memory that one kind of use may take. They add up to more than the whole: the
 * pool is shared, a budget only keeps one kind from starving the others. Who gets the last pages is
 * said in assembly/memory/blocks.ts.
 */
const BUDGETS: readonly (readonly [number, number])[] = [
  [MEMORY_RECORD, 0.95], [MEMORY_SLAB, 0.6], [MEMORY_MESSAGE, 0.8], [MEMORY_RETAINED, 0.6],
  [MEMORY_INDEX, 0.7],
  [MEMORY_CARRY, 0.5],
];

export function applyLimits(x: CoreExports, options: CoreOptions): void {
  const limits: readonly (readonly [number, number])[] = [
    [LIMIT_PACKET_BYTES, options.packetBytesMax],
    [LIMIT_RECEIVE_MAXIMUM, options.receiveMaximum],
    [LIMIT_TOPIC_ALIAS, options.topicAliasMaximum],
    [LIMIT_TOPIC_LEVELS, options.topicLevelsMax],
    [LIMIT_UNAUTHENTICATED_BYTES, options.unauthenticatedBytesMax],
    [LIMIT_QUEUE_MESSAGES, options.queueMessagesMax],
    [LIMIT_QUEUE_BYTES, options.queueBytesMax],
    [LIMIT_SLAB_BYTES, options.slabBytesMax],
    [LIMIT_SLAB_WATERMARK, options.slabWatermarkBytes],
    [LIMIT_HELD_BYTES, options.heldBytesMax],
    [LIMIT_WITHHOLD_MS, options.withholdMsMax],
    [LIMIT_RETAINED_MESSAGES, options.retainedMessagesMax],
    [LIMIT_RETAINED_BYTES, options.retainedBytesMax],
    [LIMIT_MAXIMUM_QOS, options.maximumQos ?? 2],
    [LIMIT_RETAIN_AVAILABLE, options.retainAvailable === 'no' ? 0 : 1],
    [LIMIT_VALIDATE_PAYLOAD, options.validatePayloadFormat === 'yes' ? 1 : 0],
    [LIMIT_SHARED_STRATEGY, STRATEGIES[options.sharedStrategy]],
    [LIMIT_DROP_ROWS, options.dropEventsPerTurnMax],
    [LIMIT_USER_PROPERTIES, options.userPropertiesMax],
  ];
  for (const [id, value] of limits) x.setLimit(id, value);
  for (const [memoryClass, share] of BUDGETS) {
    x.setMemoryBudget(memoryClass, Math.floor(options.memoryBytes * share));
  }
  x.setTopicCache(options.topicCacheMax);
}

/** Makes a table for connections with limits of their own; 0 = no memory. */
export function ownLimits(x: CoreExports, limits: ConnectionLimits): number {
  const table = x.createLimits() >>> 0;
  if (table === 0) return 0;
  const own: readonly (readonly [number, number | undefined])[] = [
    [LIMIT_PACKET_BYTES, limits.packetBytesMax],
    [LIMIT_RECEIVE_MAXIMUM, limits.receiveMaximum],
    [LIMIT_TOPIC_LEVELS, limits.topicLevelsMax],
    [LIMIT_UNAUTHENTICATED_BYTES, limits.unauthenticatedBytesMax],
    [LIMIT_SLAB_BYTES, limits.slabBytesMax],
    [LIMIT_SLAB_WATERMARK, limits.slabWatermarkBytes],
    [LIMIT_HELD_BYTES, limits.heldBytesMax],
    [LIMIT_MAXIMUM_QOS, limits.maximumQos],
    [LIMIT_RETAIN_AVAILABLE, flag(limits.retainAvailable)],
    [LIMIT_VALIDATE_PAYLOAD, flag(limits.validatePayloadFormat)],
    [LIMIT_USER_PROPERTIES, limits.userPropertiesMax],
  ];
  for (const [id, value] of own) if (value !== undefined) x.setOwnLimit(table, id, value);
  return table;
}

function flag(choice: 'yes' | 'no' | undefined): number | undefined {
  return choice === undefined ? undefined : Number(choice === 'yes');
}

export function memoryByClass(x: CoreExports): CoreStats['memoryUsedBytes'] {
  const used = (memoryClass: number) => x.memoryUsed(memoryClass) >>> 0;
  return {
    record: used(MEMORY_RECORD),
    slab: used(MEMORY_SLAB),
    message: used(MEMORY_MESSAGE),
    retained: used(MEMORY_RETAINED),
    index: used(MEMORY_INDEX),
    carry: used(MEMORY_CARRY),
  };
}
