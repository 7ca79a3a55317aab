// What the kernel says about a process: CPU time and resident memory.
import { readFileSync } from 'node:fs';

/** `CLK_TCK` of Linux; the field counts these. */
const TICK_US = 10_000;
const PAGE_BYTES = 4096;

/** Microseconds of CPU of all threads, user and system, in steps of 10 ms. */
export function cpuMicros(pid) {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) * TICK_US;
}

export function rssBytes(pid) {
  return Number(readFileSync(`/proc/${pid}/statm`, 'utf8').split(' ')[1]) * PAGE_BYTES;
}
