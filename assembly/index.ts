/**
 * The border: everything that the host may call, and nothing else. Arguments and results are
 * numbers; a handle that is void makes a call do nothing. The core has no imports, no clock and no
 * randomness: time and the hash seed are arguments.
 */
export {
  abiVersion, initialise, setLimit, setMemoryBudget, setTopicCache, setTopicSerialMax, createLimits,
  setOwnLimit, countersAt, memoryUsed, memoryFree, subscriptions, retainedMessages,
  retainedByteCount, tick,
} from './abi/core';
export {
  rxWindowAt, exchangeAt, exchangeBytes, rowsAt, rows, releaseRows, releaseFirstRows, ingest,
  resume, park, ingestCarry, flushAt, flush, hasUnflushed, written, advance, needsFlush,
} from './abi/bytes';
export {
  openConnection, useLimits, dropConnection, acceptConnection, pumpSession, clearWaiting, isWaiting,
  hasCarry, closeForReading, versionOf, maximumPacketSizeOf, lastReceivedAt, bytesReceived,
  publishesReceived, isPaused, sessionOfConnection, setPolicy, answerPublish, invalidateVerdicts,
  setInterceptors, passIntercepted, replaceIntercepted, dropIntercepted, beginPacket,
} from './abi/connections';
export {
  openSession, openMountedSession, closeSession, detachSession, restartSession,
  connectionOfSession, queuedMessages, queuedBytes, inflightMessages, setReceivePolicy,
  answerReceive, sessionExists, subscribe, unsubscribe, isSubscribed, replayRetained,
  subscriptionsOf, nextSubscription, describeSubscription, subscriptionOptions,
  subscriptionIdentifier, checkTopicFilter, checkTopicName,
} from './abi/sessions';
export {
  allocateMessage, messageBody, freeMessage, publish, settle, grant,
} from './abi/messages';
export { publishTo, publishNow, shedOldest, reserveIdentifier, giveIdentifier } from './abi/uplink';
export {
  setDurable, markDurable, gatedEntries, storingEntries, lastQueued, setGateNumber, commitGate,
  giveGateIdentifiers, refuseGate, passGate, gateMessage, gateEntry, nextGateEntry,
  entrySession, entryFacts, entryIdentifiers, entryGroup, groupFilter, encodeIdentifier,
  sharedEntries, findRetained, messageTopicLength,
  messageForwardLength, messagePayloadLength, messageFlags, messageExpiresAt, commitRelease,
  commitPubrel, restoreMessage, restoreEntry, restoreReleased, restoreInbound, setLastIdentifier,
  lastIdentifier, restoreRetained,
} from './abi/gate';
export {
  createMatcher, addToMatcher, removeFromMatcher, matchTopic, freeMatcher,
} from './abi/matcher';
