/**
 * Nothing outlives the process: the broker's gate stands open and it need not write. The engine
 * still does everything that the file engine does, so that one suite tests both, and a test can
 * restart a broker without a disk.
 */
import type { Durability, Engine } from './engine.js';
import { EngineError } from './errors.js';
import { MemoryStore } from './memory-store.js';
import { StoreEngine } from './store-engine.js';

export interface MemoryEngineOptions {
  /**
   * What the engine says that it promises: `memory` when left out. Tests ask for more, to close the
   * broker's gate.
   */
  readonly durability?: Durability;
}

export function createMemoryEngine(options: MemoryEngineOptions = {}): Engine {
  return new StoreEngine({
    name: 'memory',
    durability: options.durability ?? 'memory',
    store: new MemoryStore(),
    place: 'the memory engine',
    windowBytes: 0,
    onLoss: 'refuse',
    snapshot: () => Promise.reject(new EngineError('NIDO_ENGINE_OPTION',
      'The memory engine has nothing to snapshot. Use the file engine.')),
  });
}
