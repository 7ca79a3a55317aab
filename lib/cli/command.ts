/**
 * The shape of a command. One file in commands/ for each, registered in commands/index.ts; heavy
 * parts (the broker, the core) are imported when a command runs, not when it is listed.
 */
import type { Command } from 'commander';
import type { CliOutput } from './output.js';

export type RegisterCommand = (program: Command, output: CliOutput) => void;
