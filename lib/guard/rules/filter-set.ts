/**
 * What rules need of the core's index (the one matcher): Topic Filters go in, a Topic Name comes,
 * and the ids of the filters that match it come out. `TopicMatcher` of the core has this shape.
 */
export interface FilterSet {
  /**
   * Adds a filter and answers its id. The same filter added twice has two ids or the same one; both
   * are fine.
   */
  add(topicFilter: string): number;
  remove(id: number): void;
  /** Ids of all filters that match. The array may be reused by the next call. */
  match(topicName: string): ArrayLike<number>;
  /** Gives the memory back. Nothing else is called afterwards. */
  free?(): void;
}
export type FilterSetFactory = () => FilterSet;
