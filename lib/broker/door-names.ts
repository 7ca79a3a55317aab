/** Doors by name, without what opens them. */
import type { ListenerSettings } from './broker-options.js';

const DEFAULT_HOST = '127.0.0.1';
const DEFAULT_PORT = 1_883;

/** As logs and authenticators know them. */
export function doorNames(listeners: readonly ListenerSettings[]): string[] {
  return listeners.map((settings) => nameOf(withDefaults(settings)));
}

export function withDefaults(settings: ListenerSettings): ListenerSettings {
  if (settings.path !== undefined || isAttached(settings)) return settings;
  return { ...settings, host: settings.host ?? DEFAULT_HOST, port: settings.port ?? DEFAULT_PORT };
}

/** Opened in an HTTP server of the application, whose address we do not know. */
function isAttached(settings: ListenerSettings): boolean {
  return typeof settings.ws === 'object' && settings.ws.server !== undefined;
}

export function nameOf(settings: ListenerSettings): string {
  if (settings.name !== undefined) return settings.name;
  if (settings.path !== undefined) return settings.path;
  return isAttached(settings) ? 'http server' : `${settings.host}:${settings.port}`;
}
