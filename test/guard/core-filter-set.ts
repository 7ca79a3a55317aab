import { TopicMatcher } from '../../lib/core/topic-matcher.js';
import type { FilterSet } from '../../lib/guard/index.js';

/** The core's own index, as the product uses it. */
export const createFilterSet = (): FilterSet => new TopicMatcher();
