/** Every command of `nidomq`, in the order of its help. */
import type { RegisterCommand } from '../command.js';
import { registerOptions } from './options.js';
import { registerStart } from './start.js';

export const COMMANDS: readonly RegisterCommand[] = [registerStart, registerOptions];
