/**
 * What the host knows of a connection or session, by its handle. A handle names a slot, and slots
 * are given in a row: an array finds it without a hash, and without one more table to grow.
 */
const SLOT_MASK = 0xfffff;

export function slotOf(handle: number): number {
  return handle & SLOT_MASK;
}

export class ByHandle<Known extends { readonly handle: number }> {
  readonly #slots: (Known | undefined)[] = [];

  get(handle: number): Known | undefined {
    const known = this.#slots[slotOf(handle)];
    return known !== undefined && known.handle === handle ? known : undefined;
  }
  add(known: Known): void {
    this.#slots[slotOf(known.handle)] = known;
  }
  /** Nothing when its slot has been given to another since. */
  delete(handle: number): void {
    if (this.get(handle) !== undefined) this.#slots[slotOf(handle)] = undefined;
  }
}
