import type { Target } from './target.js';
export function startTarget(): Promise<Target> { throw new Error('not yet'); }
