import type { FilterSet } from '../../lib/guard/index.js';

/** The shape of the core's index with the plainest matching there is, to disagree with. */
export class NaiveFilterSet implements FilterSet {
  private readonly filters = new Map<number, string>();
  private next = 1;

  add(topicFilter: string): number {
    this.filters.set(this.next, topicFilter);
    this.next += 1;
    return this.next - 1;
  }

  remove(id: number): void {
    this.filters.delete(id);
  }

  match(topicName: string): number[] {
    return [...this.filters].filter(([, filter]) => matches(filter, topicName)).map(([id]) => id);
  }
}

export function matches(topicFilter: string, topicName: string): boolean {
  const filter = topicFilter.split('/');
  const name = topicName.split('/');
  if (topicName.startsWith('$') && (filter[0] === '#' || filter[0] === '+')) return false;
  for (const [at, level] of filter.entries()) {
    if (level === '#') return true;
    if (at >= name.length || (level !== '+' && level !== name[at])) return false;
  }
  return filter.length === name.length;
}
