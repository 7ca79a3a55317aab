import type { ConformanceCase } from './case.js';
export function writeManifest(_cases: readonly ConformanceCase[]): string { return ''; }
