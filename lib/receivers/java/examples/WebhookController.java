// Receives webhooks with Spring MVC. Make a bean of type Receiver in your configuration.

package webhooks;

import java.lang.System.Logger;
import java.lang.System.Logger.Level;
import org.springframework.http.MediaType;
import org.springframework.http.RequestEntity;
import org.springframework.http.ResponseEntity;
import org.springframework.web.bind.annotation.RequestMapping;
import org.springframework.web.bind.annotation.RestController;
import signpost.receiver.Event;
import signpost.receiver.Receiver;
import signpost.receiver.ReceiverException;

@RestController
public class WebhookController {
    private static final Logger LOG = System.getLogger("webhooks");
    private final Receiver receiver;

    public WebhookController(Receiver receiver) {
        this.receiver = receiver;
    }

    @RequestMapping("/in")
    public ResponseEntity<String> webhook(RequestEntity<byte[]> request) { // The bytes as they arrived, with the URL.
        try {
            Event event = receiver.verify(
                    request.getHeaders(), request.getBody(), request.getUrl().toString(), request.getMethod().name());
            if (!event.isRepeated()) {
                // Your work, in one transaction with the id.
                LOG.log(Level.INFO, "event {0} of type {1}", event.id(), event.type());
            }
            return ResponseEntity.noContent().build();
        } catch (ReceiverException error) {
            LOG.log(Level.WARNING, error.getMessage());
            return ResponseEntity.status(error.status()).contentType(MediaType.APPLICATION_JSON)
                    .body("{\"refused\":\"" + error.step() + "\"}");
        }
    }
}
