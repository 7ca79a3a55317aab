/**
 * From a command line to the options of a broker. What is said later wins: the configuration file,
 * then the flags, then every --set from left to right.
 */
import { doorNames } from '../broker/door-names.js';
import { optionSpec, parseOptionText } from '../broker/options.js';
import type { BrokerOptions } from '../broker/broker-options.js';
import type {
  AuthenticationConfig, AuthorizationConfig, Ban, GuardConfig,
} from '../guard/index.js';
import { CliError } from './cli-error.js';
import { readConfigFile } from './config-file.js';
import type { Config } from './config-file.js';
import { isGuardLimit, parseGuardLimit, splitLimits } from './guard-options.js';
import { setPath, stepsOf } from './set-path.js';

/** What `nidomq start` understands, as commander gives it. */
export interface StartFlags {
  readonly host?: string;
  readonly port?: string;
  readonly engine?: string;
  readonly data?: string;
  readonly durability?: string;
  readonly config?: string;
  readonly set?: readonly string[];
  readonly allowAnonymous?: true;
  readonly passwordFile?: string;
  readonly aclFile?: string;
}

export interface Settings {
  readonly broker: BrokerOptions;
  /** A configuration names guards; code gives them as objects. Empty when none is named. */
  readonly guard: GuardConfig;
}

export const DATA_FOLDER = './nidomq-data';

export async function readSettings(flags: StartFlags): Promise<Settings> {
  return settingsOf(await readConfiguration(flags));
}

/** The configuration file with the flags in it; what it says is not checked. */
export async function readConfiguration(flags: StartFlags): Promise<Config> {
  const config = flags.config === undefined ? {} : await readConfigFile(flags.config);
  applyFlags(config, flags);
  for (const assignment of flags.set ?? []) applyAssignment(config, assignment);
  if (Array.isArray(config.listeners) && config.listeners.length === 0) {
    throw new CliError('NIDO_CLI_CONFIG_FORMAT',
      'listeners: a server without one can be reached by nobody; name one, or leave this out');
  }
  return config;
}

/** Throws OptionError or CliError for the first thing that is wrong. */
export function settingsOf(config: Config): Settings {
  const { authentication, authorization, bans, ...broker } = config;
  const guard: { -readonly [name in keyof GuardConfig]: GuardConfig[name] } = {};
  if (authentication !== undefined) guard.authentication = authenticationOf(authentication);
  if (authorization !== undefined) guard.authorization = authorizationOf(authorization);
  if (bans !== undefined) guard.bans = bansOf(bans);
  if (isObject(broker.limits)) {
    const limits = splitLimits(broker.limits);
    if (Object.keys(limits.guard).length > 0) guard.limits = limits.guard;
    broker.limits = limits.broker;
  }
  if (Array.isArray(broker.listeners)) {
    broker.listeners = splitListeners(broker.listeners as unknown[], guard);
  }
  return { broker: broker as BrokerOptions, guard };
}

/** The guards' limits of each listener, by its name; the rest of its `limits` is the broker's. */
function splitListeners(
  listeners: readonly unknown[], guard: { listenerLimits?: GuardConfig['listenerLimits'] },
): unknown[] {
  return listeners.map((listener, at) => {
    if (!isObject(listener) || !isObject(listener.limits)) return listener;
    const limits = splitLimits(listener.limits, `listeners[${at}].limits.`);
    if (Object.keys(limits.guard).length === 0) return listener;
    const [name] = doorNames([listener]);
    guard.listenerLimits = { ...guard.listenerLimits, [name]: limits.guard };
    return { ...listener, limits: limits.broker };
  });
}

function applyFlags(config: Config, flags: StartFlags): void {
  if (config.listeners === undefined) config.listeners = [{}];
  if (flags.host !== undefined) setPath(config, 'listeners[0].host', flags.host);
  if (flags.port !== undefined) {
    setPath(config, 'listeners[0].port', parseOptionText('listeners[0].port', flags.port));
  }
  if (flags.allowAnonymous) config.allowAnonymous = true;
  applyEngine(config, flags);
  if (flags.passwordFile !== undefined) {
    const others = authenticationOf(config.authentication);
    config.authentication = [...others, { kind: 'password-file', path: flags.passwordFile }];
  }
  if (flags.aclFile !== undefined) {
    const others = authorizationOf(config.authorization);
    config.authorization = { ...others, aclFile: flags.aclFile };
  }
}

/**
 * A server keeps what it acknowledges: without a word it is the file engine. Flags about its folder
 * change what a configuration says of the file engine, and contradict every other one.
 */
function applyEngine(config: Config, { engine, data, durability }: StartFlags): void {
  const name = engine ?? nameOfEngine(config.engine);
  if (name !== 'file') {
    if (data !== undefined || durability !== undefined) {
      throw new CliError('NIDO_CLI_FLAG_INVALID',
        `--data and --durability mean nothing to the engine ${name}: leave them out, or use `
        + '--engine file');
    }
    if (engine !== undefined) config.engine = engine;
    return;
  }
  const configured = isObject(config.engine) && isObject(config.engine.file)
    ? config.engine.file : {};
  config.engine = {
    file: {
      path: DATA_FOLDER, ...configured,
      ...(data === undefined ? {} : { path: data }),
      ...(durability === undefined ? {} : { durability }),
    },
  };
}

function nameOfEngine(engine: unknown): string {
  if (engine === undefined) return 'file';
  // What is neither is refused where all options are checked.
  return isObject(engine) ? Object.keys(engine)[0] ?? '{}' : String(engine);
}

function applyAssignment(config: Config, assignment: string): void {
  const at = assignment.indexOf('=');
  if (at <= 0) {
    throw new CliError('NIDO_CLI_SET_INVALID',
      `--set ${assignment}: write path=value, for example --set limits.queueMessagesMax=1000`);
  }
  const path = assignment.slice(0, at);
  setPath(config, path, valueOf(path, assignment.slice(at + 1)));
}

/** Checked against the table; free below an option that is an object (`listeners[0].tls`). */
function valueOf(path: string, text: string): unknown {
  if (isGuardLimit(path)) return parseGuardLimit(path, text);
  const isFree = isGuard(path) || (optionSpec(path) === undefined && isInsideObject(path));
  return isFree ? jsonOrText(text) : parseOptionText(path, text);
}

function isGuard(path: string): boolean {
  return ['authentication', 'authorization', 'bans'].includes(String(stepsOf(path)[0]));
}

function isInsideObject(path: string): boolean {
  const steps = stepsOf(path);
  for (let length = steps.length - 1; length > 0; length--) {
    const spec = optionSpec(steps.slice(0, length).join('.'));
    if (spec !== undefined) {
      return (spec.type === 'object' || spec.type === 'any') && spec.source === 'any';
    }
  }
  return false;
}

function jsonOrText(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function authenticationOf(value: unknown): AuthenticationConfig[] {
  if (value === undefined) return [];
  if (Array.isArray(value)) return value as AuthenticationConfig[];
  throw new CliError('NIDO_CLI_CONFIG_FORMAT',
    'authentication: must be a list such as [{"kind": "password-file", "path": "passwords"}]');
}

function authorizationOf(value: unknown): AuthorizationConfig | undefined {
  if (value === undefined) return undefined;
  if (isObject(value)) return value;
  throw new CliError('NIDO_CLI_CONFIG_FORMAT',
    'authorization: must be an object such as {"aclFile": "acl"}');
}

function bansOf(value: unknown): Ban[] {
  if (Array.isArray(value)) return value as Ban[];
  throw new CliError('NIDO_CLI_CONFIG_FORMAT',
    'bans: must be a list such as [{"kind": "address", "value": "10.0.0.0/8"}]');
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
