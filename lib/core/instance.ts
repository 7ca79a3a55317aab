/**
 * The compiled core: one module per process, one instance (with its own linear memory) per Core.
 */
import { randomBytes } from 'node:crypto';
import { ABI_VERSION } from '../../assembly/shared/abi.js';
import { CoreError } from './errors.js';
import { WASM_BASE64 } from './wasm-binary.generated.js';

/**
 * The exports of assembly/index.ts. Booleans arrive as 0 and 1, addresses as signed numbers: use
 * `>>> 0`.
 */
export interface CoreExports {
  readonly memory: WebAssembly.Memory;
  abiVersion(): number;
  initialise(
    memoryBytes: number, seedHigh: number, seedLow: number, connectionsMax: number,
    sessionsMax: number,
  ): number;
  setLimit(id: number, value: number): void;
  setMemoryBudget(memoryClass: number, bytes: number): void;
  setTopicCache(entries: number): void;
  createLimits(): number;
  setOwnLimit(table: number, id: number, value: number): void;
  useLimits(handle: number, table: number): void;
  countersAt(): number;
  memoryUsed(memoryClass: number): number;
  memoryFree(): number;
  subscriptions(): number;
  retainedMessages(): number;
  retainedByteCount(): number;
  rxWindowAt(): number;
  exchangeAt(): number;
  exchangeBytes(): number;
  rowsAt(): number;
  rows(): number;
  releaseRows(): number;
  releaseFirstRows(read: number): void;
  ingest(handle: number, length: number, now: number): number;
  resume(now: number): number;
  park(): void;
  ingestCarry(handle: number, now: number): number;
  openConnection(role: number, version: number, now: number): number;
  dropConnection(handle: number, now: number): void;
  acceptConnection(
    handle: number, session: number, sendQuota: number, maximumPacketSize: number,
    aliasOutMax: number,
    aliasInMax: number, policy: number,
  ): number;
  pumpSession(session: number): void;
  clearWaiting(handle: number): void;
  isWaiting(handle: number): number;
  hasCarry(handle: number): number;
  closeForReading(handle: number): void;
  versionOf(handle: number): number;
  maximumPacketSizeOf(handle: number): number;
  lastReceivedAt(handle: number): number;
  bytesReceived(handle: number): number;
  publishesReceived(handle: number): number;
  isPaused(handle: number): number;
  sessionOfConnection(handle: number): number;
  setPolicy(handle: number, policy: number): void;
  answerPublish(handle: number, reasonCode: number, keep: number): void;
  invalidateVerdicts(): void;
  setInterceptors(matcher: number): void;
  passIntercepted(handle: number): void;
  replaceIntercepted(
    handle: number, message: number, retain: number, expirySeconds: number, now: number,
  ): void;
  dropIntercepted(handle: number, reasonCode: number): void;
  beginPacket(handle: number, firstByte: number, length: number): number;
  flushAt(): number;
  flush(): number;
  written(handle: number, chunk: number, now: number): void;
  advance(now: number): number;
  needsFlush(): number;
  hasUnflushed(handle: number): number;
  openSession(kind: number, credit: number, queueMessagesMax: number, owner: number): number;
  openMountedSession(kind: number, mountLength: number): number;
  closeSession(handle: number, now: number): void;
  detachSession(handle: number): void;
  restartSession(handle: number): void;
  connectionOfSession(handle: number): number;
  queuedMessages(handle: number): number;
  queuedBytes(handle: number): number;
  inflightMessages(handle: number): number;
  sessionExists(handle: number): number;
  setReceivePolicy(handle: number, policy: number): void;
  answerReceive(
    handle: number, serial: number, rules: number, isAllowed: number, now: number,
  ): void;
  subscribe(
    handle: number, filterLength: number, shareNameLength: number, options: number,
    identifier: number,
  ): number;
  unsubscribe(handle: number, filterLength: number, shareNameLength: number): number;
  isSubscribed(handle: number, filterLength: number, shareNameLength: number): number;
  replayRetained(handle: number, filterLength: number, qos: number): number;
  subscriptionsOf(handle: number): number;
  nextSubscription(handle: number, after: number): number;
  describeSubscription(subscription: number): number;
  subscriptionOptions(subscription: number): number;
  subscriptionIdentifier(subscription: number): number;
  checkTopicFilter(length: number): number;
  checkTopicName(length: number): number;
  allocateMessage(topicLength: number, propertiesLength: number, payloadLength: number): number;
  messageBody(message: number): number;
  freeMessage(message: number): void;
  publish(
    message: number, qos: number, retain: number, expirySeconds: number, publisher: number,
    token: number, awaits: number,
    now: number,
  ): number;
  publishTo(
    handle: number, message: number, qos: number, retain: number, expirySeconds: number,
    token: number,
    now: number,
  ): number;
  publishNow(
    handle: number, topicLength: number, propertiesLength: number, payloadLength: number,
    retain: number, expirySeconds: number,
  ): number;
  shedOldest(handle: number): number;
  reserveIdentifier(handle: number): number;
  giveIdentifier(handle: number, packetIdentifier: number): void;
  settle(handle: number, token: number, reasonCode: number, now: number): number;
  grant(handle: number, deliveries: number, now: number): void;
  tick(now: number): void;
  setDurable(): void;
  markDurable(session: number, kept: number): void;
  gatedEntries(session: number): number;
  storingEntries(session: number): number;
  lastQueued(session: number): number;
  setGateNumber(gate: number, number: number): void;
  giveGateIdentifiers(gate: number): void;
  commitGate(gate: number, now: number): void;
  refuseGate(gate: number, reasonCode: number, now: number): void;
  passGate(gate: number, now: number): void;
  gateMessage(gate: number): number;
  gateEntry(gate: number): number;
  nextGateEntry(entry: number): number;
  entrySession(entry: number): number;
  entryFacts(entry: number): number;
  entryIdentifiers(entry: number): number;
  entryGroup(entry: number): number;
  groupFilter(group: number): number;
  encodeIdentifier(identifier: number): number;
  sharedEntries(session: number): number;
  findRetained(topicLength: number): number;
  messageTopicLength(message: number): number;
  messageForwardLength(message: number): number;
  messagePayloadLength(message: number): number;
  messageFlags(message: number): number;
  messageExpiresAt(message: number): number;
  commitRelease(session: number, packetIdentifier: number, now: number): void;
  commitPubrel(handle: number, packetIdentifier: number, now: number): void;
  restoreMessage(
    message: number, qos: number, retain: number, expiresAt: number, number: number,
  ): void;
  restoreEntry(
    session: number, message: number, facts: number, sent: number, identifiersLength: number,
    groupLength: number,
  ): number;
  restoreReleased(session: number, packetIdentifier: number, number: number): number;
  restoreInbound(session: number, packetIdentifier: number): number;
  setLastIdentifier(session: number, packetIdentifier: number): void;
  lastIdentifier(session: number): number;
  restoreRetained(message: number): number;
  createMatcher(): number;
  addToMatcher(matcher: number, filterLength: number, id: number): number;
  removeFromMatcher(matcher: number, filterLength: number, id: number): void;
  matchTopic(matcher: number, topicLength: number, maximum: number): number;
  freeMatcher(matcher: number): void;
}

let compiled: WebAssembly.Module | undefined;

function moduleOfProcess(): WebAssembly.Module {
  compiled ??= new WebAssembly.Module(Buffer.from(WASM_BASE64, 'base64'));
  return compiled;
}

export interface InstanceOptions {
  readonly memoryBytes: number;
  readonly hashSeed?: bigint;
  readonly connectionsMax: number;
  readonly sessionsMax: number;
}

/** A core with its own memory. Throws CoreError NIDO_CORE_MEMORY when the memory cannot be had. */
export function instantiate(options: InstanceOptions): CoreExports {
  let exports: CoreExports;
  try {
    exports = new WebAssembly.Instance(moduleOfProcess(), {}).exports as CoreExports;
  } catch (error) {
    throw memoryError(options.memoryBytes, error);
  }
  if (exports.abiVersion() !== ABI_VERSION) {
    throw new CoreError(
      'NIDO_CORE_ABI',
      `the WebAssembly core speaks ABI ${exports.abiVersion()}, this package ${ABI_VERSION}: ` +
        'rebuild with "npm run build"',
    );
  }
  const seed = options.hashSeed ?? randomBytes(8).readBigUInt64LE();
  const made = exports.initialise(
    options.memoryBytes, Number(seed >> 32n) | 0, Number(seed & 0xffff_ffffn) | 0,
    options.connectionsMax,
    options.sessionsMax,
  );
  if (!made) throw memoryError(options.memoryBytes);
  return exports;
}

function memoryError(bytes: number, cause?: unknown): CoreError {
  const mebibytes = Math.round(bytes / 1_048_576);
  return new CoreError(
    'NIDO_CORE_MEMORY',
    `the core could not get its ${mebibytes} MiB of linear memory (option memoryBytes). ` +
      'A WebAssembly memory reserves about 10 GiB of address space: raise the limit (ulimit -v), ' +
      'or lower memoryBytes if the machine has too little memory',
    cause,
  );
}
