/** Reads a configuration: JSON, or YAML when the name ends in .yaml or .yml. */
import { readFile } from 'node:fs/promises';
import { extname } from 'node:path';
import { CliError, codeOf } from './cli-error.js';

export type Config = Record<string, unknown>;

/** Everything that the file says, unchecked. An empty file says nothing. */
export async function readConfigFile(path: string): Promise<Config> {
  const text = await readText(path);
  const value = text.trim() === '' ? {} : await parse(path, text);
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new CliError('NIDO_CLI_CONFIG_FORMAT',
      `${path}: a configuration is an object of options, for example {"limits": {}}`);
  }
  return value as Config;
}

async function readText(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    const why = codeOf(error) === 'ENOENT' ? 'there is no such file' : (error as Error).message;
    throw new CliError('NIDO_CLI_CONFIG_UNREADABLE', `${path}: ${why}`, { cause: error });
  }
}

async function parse(path: string, text: string): Promise<unknown> {
  const isYaml = ['.yaml', '.yml'].includes(extname(path).toLowerCase());
  const read = isYaml ? await yamlParser() : (JSON.parse as (text: string) => unknown);
  try {
    return read(text);
  } catch (error) {
    throw new CliError('NIDO_CLI_CONFIG_FORMAT',
      `${path}: this is not ${isYaml ? 'YAML' : 'JSON'}: ${(error as Error).message.trimEnd()}`,
      { cause: error });
  }
}

async function yamlParser(): Promise<(text: string) => unknown> {
  try {
    const yaml = await import('yaml');
    return (text) => yaml.parse(text, { prettyErrors: true });
  } catch (error) {
    throw new CliError('NIDO_CLI_YAML_MISSING',
      'reading YAML needs the package "yaml": run `npm install yaml`, or write the file as JSON',
      { cause: error });
  }
}
