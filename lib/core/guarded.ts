/**
 * The exports of a core behind a guard. A trap inside WebAssembly leaves its memory in an unknown
 * state: the first one is reported, and from then on every call answers 0 without entering the
 * instance.
 */
import type { CoreExports } from './instance.js';

type Call = (...numbers: number[]) => number;

/** `trapped` is told once, from within the call that trapped. */
export function guardExports(
  exports: CoreExports, trapped: (error: unknown) => void,
): CoreExports {
  const guard = new Guard(trapped);
  const guarded: Record<string, unknown> = { memory: exports.memory };
  for (const [name, value] of Object.entries(exports)) {
    if (typeof value === 'function') guarded[name] = guard.around(value as Call);
  }
  return guarded as unknown as CoreExports;
}

class Guard {
  private isBroken = false;

  constructor(private readonly trapped: (error: unknown) => void) {}

  private trap(error: unknown): number {
    if (!this.isBroken) {
      this.isBroken = true;
      this.trapped(error);
    }
    return 0;
  }

  /** One shape per number of arguments: a rest parameter would make an array for every call. */
  around(fn: Call): Call {
    switch (fn.length) {
      case 0: return () => {
        if (this.isBroken) return 0;
        try { return fn(); } catch (error) { return this.trap(error); }
      };
      case 1: return (a) => {
        if (this.isBroken) return 0;
        try { return fn(a); } catch (error) { return this.trap(error); }
      };
      case 2: return (a, b) => {
        if (this.isBroken) return 0;
        try { return fn(a, b); } catch (error) { return this.trap(error); }
      };
      case 3: return (a, b, c) => {
        if (this.isBroken) return 0;
        try { return fn(a, b, c); } catch (error) { return this.trap(error); }
      };
      case 4: return (a, b, c, d) => {
        if (this.isBroken) return 0;
        try { return fn(a, b, c, d); } catch (error) { return this.trap(error); }
      };
      case 5: return (a, b, c, d, e) => {
        if (this.isBroken) return 0;
        try { return fn(a, b, c, d, e); } catch (error) { return this.trap(error); }
      };
      case 7: return (a, b, c, d, e, f, g) => {
        if (this.isBroken) return 0;
        try { return fn(a, b, c, d, e, f, g); } catch (error) { return this.trap(error); }
      };
      default: return (...numbers) => {
        if (this.isBroken) return 0;
        try { return fn(...numbers); } catch (error) { return this.trap(error); }
      };
    }
  }
}
