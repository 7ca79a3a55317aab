/** Puts a value where a path such as `listeners[0].tls.certFile` says, making what is missing. */
import { CliError } from './cli-error.js';

type Container = Record<string, unknown> | unknown[];
type Step = string | number;

/** `listeners[0].port` and `listeners.0.port` are the same path. */
export function stepsOf(path: string): Step[] {
  return path.replace(/\[(\d+)\]/g, '.$1').split('.').map((step) =>
    (/^\d+$/.test(step) ? Number(step) : step));
}

export function setPath(root: Record<string, unknown>, path: string, value: unknown): void {
  const steps = stepsOf(path);
  let container: Container = root;
  steps.forEach((step, at) => {
    checkStep(container, step, path);
    if (at === steps.length - 1) {
      write(container, step, value);
      return;
    }
    let next = read(container, step);
    if (typeof next !== 'object' || next === null) {
      next = typeof steps[at + 1] === 'number' ? [] : {};
      write(container, step, next);
    }
    container = next as Container;
  });
}

/** Takes away what stands at a path; an element of a list becomes `{}`. False: nothing is there. */
export function removePath(root: object, path: string): boolean {
  const steps = stepsOf(path);
  const last = steps.pop()!;
  let container: unknown = root;
  for (const step of steps) {
    if (!hasStep(container, step)) return false;
    container = read(container, step);
  }
  if (!hasStep(container, last)) return false;
  if (Array.isArray(container)) write(container, last, {});
  else delete (container as Record<Step, unknown>)[last];
  return true;
}

function hasStep(container: unknown, step: Step): container is Container {
  return typeof container === 'object' && container !== null && Object.hasOwn(container, step);
}

function checkStep(container: Container, step: Step, path: string): void {
  if (step === '' || step === '__proto__') {
    throw new CliError('NIDO_CLI_SET_INVALID', `--set ${path}: this is not a path of names`);
  }
  if (Array.isArray(container) !== (typeof step === 'number')) {
    const wanted = Array.isArray(container) ? 'a position such as [0]' : 'a name, not a position';
    throw new CliError('NIDO_CLI_SET_INVALID', `--set ${path}: "${step}" must be ${wanted}`);
  }
  if (Array.isArray(container) && (step as number) > container.length) {
    throw new CliError('NIDO_CLI_SET_INVALID',
      `--set ${path}: the list has ${container.length} elements, the next one is `
      + `[${container.length}]`);
  }
}

function read(container: Container, step: Step): unknown {
  return (container as Record<Step, unknown>)[step];
}

function write(container: Container, step: Step, value: unknown): void {
  (container as Record<Step, unknown>)[step] = value;
}
