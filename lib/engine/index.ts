export type {
  CheckReport, Durability, Engine, EngineState, FoundMessage, FoundSession, FoundSubscription,
  LoadLimits, LoadReport, LoadVisitor, Loss, QueueEntry, QueueReadLimits, QueueSlice, SessionRecord,
  SnapshotReport, SpilledPart, StoredMessage, SubscriptionRecord, WillRecord, WriteDurability,
} from './engine.js';
export type { EngineErrorCode } from './errors.js';
export type { FileEngineOptions } from './file-engine.js';
export type { GroupCommitEvents, GroupCommitOptions, GroupCommitStats } from './group-commit.js';
export type { MemoryEngineOptions } from './memory-engine.js';
export type { EngineBatch } from './batch.js';
export { NUMBER_STEP, USERNAME_BYTES_MAX, messageNumberOf } from './engine.js';
export { EngineError } from './errors.js';
export {
  checkDirectory, createFileEngine, restoreSnapshot, snapshotDirectory,
} from './file-engine.js';
export { GroupCommit } from './group-commit.js';
export { createMemoryEngine } from './memory-engine.js';
export { PackedSessions } from './packed-sessions.js';
