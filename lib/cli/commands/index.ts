/** Every command of `nidomq`, in the order of its help. */
import type { RegisterCommand } from '../command.js';
import { registerAcl } from './acl.js';
import { registerCheckConfig } from './check-config.js';
import { registerCheck, registerRestore, registerSnapshot } from './data.js';
import { registerOptions } from './options.js';
import { registerPasswd } from './passwd.js';
import { registerStart } from './start.js';

export const COMMANDS: readonly RegisterCommand[] = [
  registerStart, registerOptions, registerCheckConfig, registerPasswd, registerAcl,
  registerCheck, registerSnapshot, registerRestore,
];
