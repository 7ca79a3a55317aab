/** Every command of `nidomq`, in the order of its help. */
import type { RegisterCommand } from '../command.js';
import { registerAcl } from './acl.js';
import { registerCheckConfig } from './check-config.js';
import { registerCheck, registerRestore, registerSnapshot } from './data.js';
import { registerOptions } from './options.js';
import { registerPasswd } from './passwd.js';
import { registerPub } from './pub.js';
import { registerStart } from './start.js';
import { registerSub } from './sub.js';

export const COMMANDS: readonly RegisterCommand[] = [
  registerStart, registerPub, registerSub, registerOptions, registerCheckConfig, registerPasswd,
  registerAcl,
  registerCheck, registerSnapshot, registerRestore,
];
