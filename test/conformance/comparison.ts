import type { Run } from './command.js';
export function writeComparison(_runs: readonly Run[]): void {}
