/** `nidomq options`: every option with its default, unit and meaning. */
import { OPTION_TABLE, allowedValues } from '../../broker/options.js';
import type { OptionSpec } from '../../broker/options.js';
import type { RegisterCommand } from '../command.js';
import { CliError } from '../cli-error.js';
import { GUARD_OPTION_TABLE } from '../guard-options.js';

/** The broker's options, then what only a configuration can say. */
const ALL: readonly OptionSpec[] = [...OPTION_TABLE, ...GUARD_OPTION_TABLE];

interface OptionsFlags {
  readonly json?: true;
}

/** The table leaves these to code; a configuration has words for them. */
const NAMED_IN_CONFIGURATION = new Map([
  ['authentication', 'list of {"kind": "password-file" | "users" | "jwt" | "http" | ...}'],
  ['authorization', 'object with rules, rulesFile or aclFile'],
]);

export const registerOptions: RegisterCommand = (program, output) => {
  program
    .command('options')
    .description('list every option with its default, unit and meaning')
    .argument('[path]', 'only options whose path starts with this, for example limits')
    .option('--json', 'as JSON, one object for each option')
    .action((path: string | undefined, flags: OptionsFlags) => {
      const chosen = ALL.filter((spec) => path === undefined || isBelow(spec.path, path));
      if (chosen.length === 0) {
        throw new CliError('NIDO_CLI_FLAG_INVALID',
          `${path}: no option starts with this; \`nidomq options\` lists them all`);
      }
      if (flags.json) output.line(JSON.stringify(chosen.map(described), null, 2));
      else output.line(chosen.map(paragraph).join('\n'));
    });
};

function isBelow(path: string, prefix: string): boolean {
  return path === prefix || path.startsWith(`${prefix}.`) || path.startsWith(`${prefix}[`);
}

function described(spec: OptionSpec): Record<string, unknown> {
  const { path, type, unit, description, source } = spec;
  return {
    path, type, default: spec.default ?? null, unit, description, allowed: allowed(spec), source,
  };
}

function paragraph(spec: OptionSpec): string {
  return `${spec.path} = ${defaultText(spec)}\n    ${spec.description}.\n    ${allowed(spec)}`;
}

function defaultText(spec: OptionSpec): string {
  if (spec.default === undefined) return '(not set)';
  const value = typeof spec.default === 'string' ? spec.default : JSON.stringify(spec.default);
  const unit = spec.unit === 'port' ? '' : spec.unit;
  return [value === '' ? '(empty)' : value, unit].filter((part) => part !== '').join(' ');
}

function allowed(spec: OptionSpec): string {
  const named = NAMED_IN_CONFIGURATION.get(spec.path);
  if (named !== undefined) return `In code: objects with methods. In a configuration: ${named}`;
  if (spec.source === 'code') return 'Given in code only';
  return spec.type === 'any' ? 'Allowed: see the description' : `Allowed: ${allowedValues(spec)}`;
}
