/** Reads a whole store and says what in it cannot be trusted. Changes nothing. */
import { openValue } from './checksum.js';
import type { CheckReport, Loss } from './engine.js';
import { readIdentity } from './identity.js';
import {
  KEY_MESSAGE, KEY_QUEUE, KEY_WORDS, classRange, describeKey, readNumber,
} from './keys.js';
import type { Ledger } from './ledger.js';
import { referenceOf } from './records.js';
import type { Readable } from './store.js';
import { scanAll } from './store.js';

/** What stands below the records, in words of a loss. */
export function lossesBelow(damage: readonly string[]): Loss[] {
  return damage.map((detail) => ({ kind: 'record', promised: true, detail }));
}

/** `damage` is what the store says of itself. */
export async function examine(
  store: Readable, ledger: Ledger, damage: readonly string[],
): Promise<CheckReport> {
  const identity = await readIdentity(store);
  const losses: Loss[] = [...lossesBelow(damage), ...await ledger.read(store)];
  const records: Record<string, number> = {};
  const bodies = new Set<number>();
  const orphans = new Set<number>();
  // Bodies come before the queue entries that name them.
  const order = [...KEY_WORDS.keys()].filter((keyClass) => keyClass !== KEY_QUEUE);
  for (const keyClass of [...order, KEY_QUEUE]) {
    let count = 0;
    await scanAll(store, classRange(keyClass), (key, value) => {
      count++;
      const body = openValue(key, value);
      if (body === undefined) {
        losses.push({ kind: 'record', promised: true, detail: `${describeKey(key)} is damaged` });
      } else if (keyClass === KEY_MESSAGE) {
        bodies.add(readNumber(key, 1));
        orphans.add(readNumber(key, 1));
      } else if (keyClass === KEY_QUEUE) {
        const reference = referenceOf(key, body);
        orphans.delete(reference);
        if (reference === 0 || bodies.has(reference)) return;
        const detail = `the body of ${describeKey(key)} is missing`;
        losses.push({ kind: 'message-body', promised: true, detail });
      }
    });
    records[KEY_WORDS.get(keyClass) as string] = count;
  }
  for (const number of orphans) {
    const detail = `message body ${number} belongs to no queue entry: wasted room, nothing lost`;
    losses.push({ kind: 'record', promised: false, detail });
  }
  return {
    formatVersion: identity?.formatVersion ?? 0, nodeId: identity?.nodeId ?? '',
    lastBatch: ledger.lastBatch, records, losses,
  };
}
