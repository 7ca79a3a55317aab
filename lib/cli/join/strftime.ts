/** The conversions of strftime(3) that people use, in the local time zone and in English. */

const DAYS = ['Sunday', 'Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday'];
const MONTHS = [
  'January', 'February', 'March', 'April', 'May', 'June', 'July', 'August', 'September', 'October',
  'November', 'December',
];
const DAY_MS = 86_400_000;
const SHORT = 3;

function two(value: number): string {
  return `${value}`.padStart(2, '0');
}
function blank(value: number): string {
  return `${value}`.padStart(2, ' ');
}
function zone(when: Date): string {
  const minutes = -when.getTimezoneOffset();
  const size = Math.abs(minutes);
  return `${minutes < 0 ? '-' : '+'}${two(Math.floor(size / 60))}${two(size % 60)}`;
}
function dayOfYear(when: Date): number {
  const first = Date.UTC(when.getFullYear(), 0, 1);
  return (Date.UTC(when.getFullYear(), when.getMonth(), when.getDate()) - first) / DAY_MS + 1;
}
function hour12(when: Date): number {
  return when.getHours() % 12 || 12;
}

const CONVERSIONS = new Map<string, (when: Date) => string>([
  ['a', (when) => DAYS[when.getDay()].slice(0, SHORT)],
  ['A', (when) => DAYS[when.getDay()]],
  ['b', (when) => MONTHS[when.getMonth()].slice(0, SHORT)],
  ['h', (when) => MONTHS[when.getMonth()].slice(0, SHORT)],
  ['B', (when) => MONTHS[when.getMonth()]],
  ['c', (when) => strftime(when, '%a %b %e %H:%M:%S %Y')],
  ['C', (when) => two(Math.floor(when.getFullYear() / 100))],
  ['d', (when) => two(when.getDate())],
  ['D', (when) => strftime(when, '%m/%d/%y')],
  ['e', (when) => blank(when.getDate())],
  ['F', (when) => strftime(when, '%Y-%m-%d')],
  ['H', (when) => two(when.getHours())],
  ['I', (when) => two(hour12(when))],
  ['j', (when) => `${dayOfYear(when)}`.padStart(3, '0')],
  ['k', (when) => blank(when.getHours())],
  ['l', (when) => blank(hour12(when))],
  ['m', (when) => two(when.getMonth() + 1)],
  ['M', (when) => two(when.getMinutes())],
  ['n', () => '\n'],
  ['p', (when) => (when.getHours() < 12 ? 'AM' : 'PM')],
  ['r', (when) => strftime(when, '%I:%M:%S %p')],
  ['R', (when) => strftime(when, '%H:%M')],
  ['s', (when) => `${Math.floor(when.getTime() / 1000)}`],
  ['S', (when) => two(when.getSeconds())],
  ['t', () => '\t'],
  ['T', (when) => strftime(when, '%H:%M:%S')],
  ['u', (when) => `${when.getDay() || 7}`],
  ['w', (when) => `${when.getDay()}`],
  ['x', (when) => strftime(when, '%m/%d/%y')],
  ['X', (when) => strftime(when, '%H:%M:%S')],
  ['y', (when) => two(when.getFullYear() % 100)],
  ['Y', (when) => `${when.getFullYear()}`],
  ['z', zone],
  ['%', () => '%'],
]);

/** What is no conversion stays as it is. */
export function strftime(when: Date, format: string): string {
  return format.replaceAll(/%([\s\S])/gu, (whole, name: string) =>
    CONVERSIONS.get(name)?.(when) ?? whole);
}
