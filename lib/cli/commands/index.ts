/** Every command of `nidomq`, in the order of its help. */
import type { RegisterCommand } from '../command.js';
import { registerAcl } from './acl.js';
import { registerCheckConfig } from './check-config.js';
import { registerOptions } from './options.js';
import { registerPasswd } from './passwd.js';
import { registerStart } from './start.js';

export const COMMANDS: readonly RegisterCommand[] = [
  registerStart, registerOptions, registerCheckConfig, registerPasswd, registerAcl,
];
