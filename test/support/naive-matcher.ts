/**
 * "Does this Topic Filter match this Topic Name", as the specification tells it, level by level on
 * strings. It is slow and obvious, and exists to disagree with the core's index.
 */
export function naiveMatch(topicFilter: string, topicName: string): boolean {
  const filter = topicFilter.split('/');
  const topic = topicName.split('/');
  if (topicName.startsWith('$') && (filter[0] === '+' || filter[0] === '#')) return false;
  for (let i = 0; i < filter.length; i++) {
    if (filter[i] === '#') return true; // also the parent level: `a/#` matches `a`
    if (i >= topic.length) return false;
    if (filter[i] !== '+' && filter[i] !== topic[i]) return false;
  }
  return filter.length === topic.length;
}
