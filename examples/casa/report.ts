/** What a person reads: one line per thing that happens, who did it in front. */

const NAME_WIDTH = 22;
const START = Date.now();

/** Prints one line, with the seconds since the start. */
export function say(who: string, what: string): void {
  const seconds = ((Date.now() - START) / 1_000).toFixed(1).padStart(5);
  console.log(`${seconds} s  ${who.padEnd(NAME_WIDTH)}  ${what}`);
}

/** Explains what the next lines will show. */
export function chapter(title: string): void {
  console.log(`\n--- ${title}`);
}
