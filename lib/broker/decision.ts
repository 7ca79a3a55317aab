/** Values that may come at once or later. Only what comes later pays for a promise. */

export type Soon<Value> = Value | Promise<Value>;

export function isLater<Value>(value: Soon<Value>): value is Promise<Value> {
  return typeof (value as { then?: unknown } | null | undefined)?.then === 'function';
}

/** Calls `decided` with the value now, or when it is there; `failed` when it rejects. */
export function whenDecided<Value>(
  value: Soon<Value>,
  decided: (value: Value) => void,
  failed: (error: unknown) => void,
): void {
  if (isLater(value)) value.then(decided).catch(failed);
  else decided(value);
}
