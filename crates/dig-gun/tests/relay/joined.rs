//! Two relays of ours, one joined to the other.

use crate::{speaker::Speaker, wire::relay};
use dig_gun::{
    relay::{Limits, ServeOptions, Serving, serve},
    store::{DiskStorage, MemoryStorage, StoreConfig},
};
use std::{sync::Arc, time::Duration};
use tokio::time::sleep;

async fn joining(url: &str, listen: &str) -> (Serving, String) {
    let storage = Arc::new(MemoryStorage::new(StoreConfig::default()));
    let mut options = ServeOptions::new(vec![listen.parse().unwrap()], storage);
    options.join = vec![url.parse().unwrap()];
    let serving = serve(options).await.unwrap();
    let url = format!("ws://{}/gun", serving.addrs()[0]);
    (serving, url)
}

async fn until(mut what: impl FnMut() -> bool) {
    for _ in 0..3000 {
        if what() {
            return;
        }
        sleep(Duration::from_millis(10)).await;
    }
    panic!("it does not happen");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_has_the_other_finds_and_changes_go_both_ways() {
    let (far, far_url) = relay(Limits::default()).await;
    let (near, near_url) = joining(&far_url, "127.0.0.1:0").await;
    until(|| near.counters().relays == 1).await;
    let mut alice = Speaker::connect(&near_url).await;
    let mut bob = Speaker::connect(&far_url).await;
    alice.put("near", "k", "1", 1.0).await.1.unwrap();
    bob.put("far", "k", "2", 1.0).await.1.unwrap();
    assert_eq!(
        alice.get("far").await.1,
        ["k=2"],
        "asked there before it is said that there is nothing"
    );
    until(|| far.counters().stored_nodes == 2).await;
    assert_eq!(bob.get("near").await.1, ["k=1"]);
    bob.put("far", "k", "3", 2.0).await.1.unwrap();
    alice.change("far", "k").await;
    alice.put("near", "k", "4", 2.0).await.1.unwrap();
    bob.change("near", "k").await;
    assert!(alice.get("nowhere").await.1.is_empty());
    near.shutdown().await;
    far.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn joined_in_a_circle_each_change_ends_everywhere_and_the_talk_too() {
    let (first, first_url) = relay(Limits::default()).await;
    let address = first.addrs()[0];
    let (second, second_url) = joining(&first_url, "127.0.0.1:0").await;
    first.shutdown().await;
    let (first, first_url) = joining(&second_url, &address.to_string()).await;
    until(|| first.counters().relays == 2 && second.counters().relays == 2).await;
    let mut alice = Speaker::connect(&first_url).await;
    let mut bob = Speaker::connect(&second_url).await;
    for number in 0..20 {
        alice
            .put(&format!("a{number}"), "k", "1", 1.0)
            .await
            .1
            .unwrap();
        bob.put(&format!("b{number}"), "k", "1", 1.0)
            .await
            .1
            .unwrap();
        bob.get(&format!("a{number}")).await;
        alice.get(&format!("b{number}")).await;
    }
    until(|| first.counters().stored_nodes == 40 && second.counters().stored_nodes == 40).await;
    sleep(Duration::from_millis(500)).await;
    let before = (first.counters().messages, second.counters().messages);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(
        (first.counters().messages, second.counters().messages),
        before,
        "they talk on about nothing"
    );
    first.shutdown().await;
    second.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_changed_while_they_were_parted_comes_together() {
    let (far, far_url) = relay(Limits::default()).await;
    let address = far.addrs()[0];
    let (near, near_url) = joining(&far_url, "127.0.0.1:0").await;
    until(|| near.counters().relays == 1).await;
    let mut alice = Speaker::connect(&near_url).await;
    alice.get("followed").await;
    far.shutdown().await;
    until(|| near.counters().relays == 0).await;
    for number in 0..200 {
        alice
            .put(&format!("missed {number}"), "k", "1", 1.0)
            .await
            .1
            .unwrap();
    }
    let storage = Arc::new(MemoryStorage::new(StoreConfig::default()));
    let far = serve(ServeOptions::new(vec![address], storage))
        .await
        .unwrap();
    let mut bob = Speaker::connect(&far_url).await;
    bob.put("followed", "k", "1", 1.0).await.1.unwrap();
    alice.change("followed", "k").await;
    until(|| far.counters().stored_nodes == 201).await;
    near.shutdown().await;
    far.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_ends_lets_go_of_its_file_and_of_the_relays_it_joined() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gun.redb");
    let (far, far_url) = relay(Limits::default()).await;
    for _ in 0..3 {
        let storage = Arc::new(DiskStorage::open(&file, StoreConfig::default()).unwrap());
        let mut options = ServeOptions::new(vec!["127.0.0.1:0".parse().unwrap()], storage);
        options.join = vec![far_url.parse().unwrap()];
        let near = serve(options).await.unwrap();
        until(|| far.counters().connections == 1).await;
        near.shutdown().await;
        until(|| far.counters().connections == 0).await;
    }
    far.shutdown().await;
}
