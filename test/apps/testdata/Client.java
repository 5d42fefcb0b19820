import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.concurrent.CompletableFuture;

/** URL PAGE: gets the page 100 times, asynchronously. */
class Client {
    public static void main(String[] args) throws Exception {
        String want = Files.readString(Path.of(args[1]));
        HttpClient client = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();
        HttpRequest request = HttpRequest.newBuilder(URI.create(args[0])).build();
        var pages = new ArrayList<CompletableFuture<HttpResponse<String>>>();
        for (int i = 0; i < 100; i++) {
            pages.add(client.sendAsync(request, HttpResponse.BodyHandlers.ofString()));
        }
        for (var p : pages) {
            if (!p.get().body().equals(want)) {
                throw new Exception("another page");
            }
        }
        System.out.println("100 pages");
    }
}
