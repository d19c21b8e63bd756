package signpost.receiver;

import java.util.Set;

/**
 * A webhook that verifies. Members that the request lacks are null.
 *
 * @param id {@code webhook-id}: the same over all attempts and replays
 * @param source the event's source
 * @param type the event's type
 * @param attempt the number of the attempt, from 1
 * @param replay the operator's request that caused it: {@code replay}, {@code recover}, {@code redrive} or {@code test}
 * @param payload the signed bytes: the body, or for a {@code GET} the query
 * @param signed which of {@code id}, {@code source} and {@code type} the signature covers; somebody on the way can change
 *     the others
 * @param isRepeated whether the {@code seen} hook knows the id: answer 2xx, and do nothing
 */
public record Event(
        String id, String source, String type, Integer attempt, String replay, byte[] payload, Set<String> signed,
        boolean isRepeated) {}
